"""The gRPC server against clients that others wrote: grpcio's and curl."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from cloche.wire import http2_frames as frames
from cloche.wire.http2 import Connection
from cloche.wire.http2_headers import encode
from cloche.wire.http2_limits import Limits
from tests.daemon.service import ECHO, Note, Server
from tests.peers import peer
from tests.waiting import wait_until

MEGABYTE = 1 << 20


class Client:
    """grpcio's client of the test's service."""

    def __init__(self, path: str) -> None:
        limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(f"unix:{path}", options=limits)

    def __getattr__(self, name: str) -> Any:
        method = ECHO.methods[name]
        sides = (method.client_streaming, method.server_streaming)
        kind = "_".join("stream" if streams else "unary" for streams in sides)
        return getattr(self.channel, kind)(f"/{ECHO.full_name}/{name}", Note.encode, Note.decode)


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    made = Client(server.path)
    yield made
    made.channel.close()


def test_a_call_is_answered(client: Client, server: Server) -> None:
    assert client.Say(Note(text="hello", number=-7)) == Note(text="hello", number=-7)
    assert client.Slow(Note(text="from a thread")).text == "from a thread"
    assert server.echo.peers == [os.getpid()]


@pytest.mark.parametrize("size", [0, 1, 16_384, 65_530, MEGABYTE + 1, 15 * MEGABYTE])
def test_messages_of_any_size_go_both_ways(client: Client, size: int) -> None:
    data = os.urandom(min(size, 1000)) * (size // 1000 + 1)
    assert client.Say(Note(data=data[:size])).data == data[:size]


def test_a_message_above_the_limit_is_refused_and_the_connection_stays(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.Say(Note(data=bytes(16 * MEGABYTE)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client.Say(Note(number=1)).number == 1


def test_a_server_streams(client: Client) -> None:
    notes = list(client.Count(Note(number=200, data=bytes(20_000))))
    assert [note.number for note in notes] == list(range(200))
    assert list(client.Count(Note(number=0))) == []


def test_a_client_streams(client: Client) -> None:
    answer = client.Sum(Note(number=number, data=bytes(40_000)) for number in range(100))
    assert answer == Note(number=4950, text=str(100 * 40_000))


def test_both_stream(client: Client) -> None:
    words = ["a", "b", "ü" * 1000, "bye"]
    answers = client.Chat(Note(text=word) for word in words)
    assert [note.text for note in answers] == [word.upper() for word in words]


def test_a_stream_may_fail_before_its_requests_are_all_there(client: Client) -> None:
    def requests() -> Iterator[Note]:
        for _ in range(100):
            yield Note(text="enough", data=bytes(MEGABYTE))

    with pytest.raises(grpc.RpcError) as caught:
        client.Sum(requests())
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client.Say(Note(number=3)).number == 3


def test_an_error_has_its_code_and_its_text(client: Client) -> None:
    text = 'image "ubuntu": 100 % nötig\nund mehr'
    with pytest.raises(grpc.RpcError) as caught:
        client.Fail(Note(text=text))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == text


def test_a_long_error_is_cut(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.Fail(Note(text="ä" * 100_000))
    assert 100 < len(caught.value.details()) < 4096


def test_a_method_or_service_that_nobody_has_is_unimplemented(client: Client) -> None:
    for call in (client.Missing, client.channel.unary_unary("/no.Service/Say", Note.encode, Note.decode)):
        with pytest.raises(grpc.RpcError) as caught:
            call(Note())
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "unknown" in caught.value.details()


def test_a_request_that_is_no_message_is_an_invalid_argument(client: Client) -> None:
    call = client.channel.unary_unary(f"/{ECHO.full_name}/Say")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\x0a\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_metadata_goes_both_ways(client: Client) -> None:
    metadata = (("containerd-namespace", "k8s.io"), ("x-word", "hi"))
    answer, call = client.Where.with_call(Note(), metadata=metadata, timeout=100)
    assert answer.text == "k8s.io hi"
    assert 90 < answer.number <= 101
    assert ("start", "begun") in call.initial_metadata()
    assert ("end", "done") in call.trailing_metadata()


def test_a_call_without_a_namespace_is_told_what_is_missing(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.Where(Note())
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == "namespace is required"


def test_headers_above_the_limit_are_refused_and_the_connection_stays(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.Say(Note(), metadata=(("x-long", "x" * 10_000),))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client.Say(Note(number=3)).number == 3


def test_gzip_is_understood(client: Client) -> None:
    note = Note(data=bytes(100_000))
    assert client.Say(note, compression=grpc.Compression.Gzip) == note
    with pytest.raises(grpc.RpcError) as caught:
        client.Say(note, compression=grpc.Compression.Deflate)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_what_unfolds_above_the_limit_is_refused(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.Say(Note(data=bytes(20 * MEGABYTE)), compression=grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_deadline_ends_the_handler(client: Client, server: Server) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.Hang(Note(), timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    # On a busy machine the handler may not have begun by then.
    wait_until(lambda: server.echo.ended == server.echo.hanging)


def test_a_call_that_is_cancelled_ends_the_handler(client: Client, server: Server) -> None:
    waiting = client.Hang.future(Note())
    stream = client.Forever(Note())
    next(stream)
    wait_until(lambda: server.echo.hanging == 2)
    waiting.cancel()
    stream.cancel()
    wait_until(lambda: server.echo.ended == 2)
    assert client.Say(Note(number=1)).number == 1


def test_a_client_that_is_gone_ends_its_handlers(server: Server) -> None:
    client = Client(server.path)
    calls = [client.Hang.future(Note()), client.Forever(Note())]
    wait_until(lambda: server.echo.hanging == 2)
    client.channel.close()
    wait_until(lambda: server.echo.ended == 2)
    assert len(calls) == 2


def test_a_client_that_does_not_read_makes_its_handler_wait(server: Server) -> None:
    """The window of a stream is what the server may have under way, and little more is held."""
    client = Client(server.path)
    stream = client.Forever(Note())
    next(stream)
    other = client.Count(Note(number=500, data=bytes(1000)))
    assert sum(1 for _ in other) == 500
    client.channel.close()
    wait_until(lambda: server.echo.ended == 1)


def test_a_thousand_calls_at_once(client: Client) -> None:
    calls = [client.Slow.future(Note(number=number)) for number in range(1000)]
    assert [call.result().number for call in calls] == list(range(1000))


def test_stopping_lets_calls_finish_and_ends_those_that_do_not(server: Server) -> None:
    client = Client(server.path)
    waiting = client.Hang.future(Note())
    wait_until(lambda: server.echo.hanging == 1)
    server.begin_stop(grace_s=0.1)
    with pytest.raises(grpc.RpcError) as caught:
        waiting.result(timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    wait_until(lambda: server.echo.ended == 1)
    client.channel.close()


def test_stopping_does_not_wait_for_what_may_last_for_ever(server: Server) -> None:
    client = Client(server.path)
    waiting = client.Wait.future(Note())
    wait_until(lambda: server.echo.hanging == 1)
    server.begin_stop(grace_s=60)
    with pytest.raises(grpc.RpcError) as caught:
        waiting.result(timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    client.channel.close()


def test_curl_is_told_whom_it_speaks_to(server: Server) -> None:
    command = [peer("curl"), "--silent", "--http2-prior-knowledge", "--write-out", "%{http_code}"]
    result = subprocess.run(
        [*command, f"http://127.0.0.1:{server.port}/"], capture_output=True, text=True, check=True
    )
    assert result.stdout == "this is cloched, which speaks gRPC\n405"
    command += ["--data", "x", f"http://127.0.0.1:{server.port}/"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.endswith("415")


def test_what_is_no_http2_is_told_so_and_hung_up_on(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        heard = b"".join(iter(lambda: stranger.recv(4096), b""))
    assert b"this is not HTTP/2" in heard


def test_streams_above_the_limit_are_refused(tmp_path: Path) -> None:
    with Server(tmp_path, limits=Limits(streams=2)) as server:
        raw = RawClient(server.path)
        codes = [raw.request("Hang") for _ in range(3)]
        assert raw.reset_code(codes[2]) == frames.REFUSED_STREAM
        raw.socket.close()
        wait_until(lambda: server.echo.ended == 2)


def test_requests_of_one_connection_may_hold_so_much_and_no_more(server: Server, client: Client) -> None:
    """Calls that wait in their handlers keep their requests."""
    calls = [client.Hang.future(Note(data=bytes(15 * MEGABYTE))) for _ in range(9)]
    wait_until(lambda: any(call.done() for call in calls))
    [refused] = [call for call in calls if call.done()]
    assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    wait_until(lambda: server.echo.hanging == 8)
    for call in calls:
        call.cancel()
    wait_until(lambda: server.echo.ended == 8)
    assert client.Say(Note(data=bytes(15 * MEGABYTE))).number == 0


def test_a_rapid_reset_ends_the_connection_and_nobody_elses(server: Server, client: Client) -> None:
    """CVE-2023-44487."""
    raw = RawClient(server.path)
    for _ in range(1000):
        number = raw.request("Hang")
        raw.connection.reset(number)
    raw.flush()
    assert raw.goaway_code() == frames.ENHANCE_YOUR_CALM
    raw.socket.close()
    wait_until(lambda: server.echo.ended == server.echo.hanging)
    assert client.Say(Note(number=1)).number == 1


class RawClient:
    """Our own codec against our server, without a client's good manners."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(path)
        self.connection = Connection(client=True)
        self.raw = b""

    def request(self, method: str) -> int:
        number = self.connection.open()
        path = f"/{ECHO.full_name}/{method}".encode()
        fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path)]
        fields.append((b"content-type", b"application/grpc"))
        self.connection.send_headers(number, encode(fields))
        self.connection.send_data(number, b"\0\0\0\0\0", end=True)
        self.flush()
        return number

    def flush(self) -> None:
        try:
            self.socket.sendall(self.connection.take())
        except BrokenPipeError:
            pass

    def _frame(self, kind: int, stream: int) -> bytes:
        """The payload of the first frame of a kind on a stream."""
        while True:
            position = 0
            while len(self.raw) - position >= frames.HEADER_SIZE:
                upper, lowest, got, _, number = frames.HEADER.unpack_from(self.raw, position)
                start = position + frames.HEADER_SIZE
                position = start + (upper << 8 | lowest)
                if (got, number) == (kind, stream) and position <= len(self.raw):
                    return self.raw[start:position]
            more = self.socket.recv(65536)
            assert more, "the server hung up"
            self.raw += more

    def reset_code(self, stream: int) -> int:
        return int.from_bytes(self._frame(frames.RST_STREAM, stream), "big")

    def goaway_code(self) -> int:
        return int.from_bytes(self._frame(frames.GOAWAY, 0)[4:8], "big")
