"""The ttrpc server, with clients that behave and clients that do not."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloche.errors import DeadlineExceeded, NotFound, Unavailable
from cloche.shim.client import Client
from cloche.shim.loop import Loop
from cloche.shim.server import Call, Server
from cloche.wire import ttrpc
from cloche.wire.messages.google import StringValue, UInt32Value
from cloche.wire.service import Method, Service
from cloche.wire.status import StatusError
from tests.waiting import wait_until

SERVICE = Service(
    "tests.Words",
    Method("Echo", StringValue, StringValue),
    Method("Never", StringValue, StringValue),
    Method("Refuse", StringValue, StringValue),
    Method("Break", StringValue, StringValue),
    Method("Blow", UInt32Value, StringValue),
    Method("Count", UInt32Value, UInt32Value, server_streaming=True),
    Method("Sum", UInt32Value, UInt32Value, client_streaming=True),
)


class Words:
    """A service and the loop it is served in, in a thread."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.loop = Loop()
        self.reported: list[BaseException] = []
        self.gone: list[str] = []
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(64)
        self.server = Server(self.loop, listener, self.reported.append)
        handlers = {
            name: getattr(self, name.lower()) for name in SERVICE.methods if hasattr(self, name.lower())
        }
        self.server.offer(SERVICE, {**handlers, "Break": self.break_down})
        self.thread = threading.Thread(target=self.loop.run)
        self.thread.start()

    def echo(self, request: StringValue, call: Call) -> None:
        call.answer(request)

    def never(self, request: StringValue, call: Call) -> None:
        call.on_gone = lambda: self.gone.append(request.value)

    def refuse(self, request: StringValue, call: Call) -> None:
        raise NotFound(request.value)

    def break_down(self, _request: StringValue, _call: Call) -> None:
        raise ZeroDivisionError("nobody foresaw this")

    def blow(self, request: UInt32Value, call: Call) -> None:
        call.answer(StringValue(value="x" * request.value))

    def count(self, request: UInt32Value, call: Call) -> None:
        for number in range(request.value):
            call.send(UInt32Value(value=number))
        call.answer(UInt32Value())

    def sum(self, _request: UInt32Value | None, call: Call) -> None:
        heard: list[int] = []
        call.on_data = lambda message: heard.append(message.value)
        call.on_end = lambda: call.answer(UInt32Value(value=sum(heard)))

    def close(self) -> None:
        def end() -> None:
            self.server.close()
            self.loop.stop()

        self.loop.call_soon(end)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def words(tmp_path: Path) -> Iterator[Words]:
    """A server of words."""
    server = Words(str(tmp_path / "s"))
    yield server
    server.close()


def ask(words: Words, method: str, text: str = "", timeout_s: float = 5) -> str:
    """One call on a connection of its own."""
    with Client(words.path) as client:
        answer: str = client.call(SERVICE, method, StringValue(value=text), timeout_s=timeout_s).value
        return answer


def raw(words: Words) -> socket.socket:
    """A connection without manners."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(5)
    connection.connect(words.path)
    return connection


def request(method: str, stream: int, payload: bytes = b"", **fields: int) -> bytes:
    words = ttrpc.Request(service=SERVICE.full_name, method=method, payload=payload, **fields)
    return ttrpc.encode(stream, ttrpc.REQUEST, words.encode(), flags=ttrpc.REMOTE_CLOSED)


def responses(connection: socket.socket, count: int) -> list[ttrpc.Frame]:
    decoder, found = ttrpc.Decoder(), list[ttrpc.Frame]()
    while len(found) < count:
        data = connection.recv(65536)
        assert data, "the connection was closed"
        found += decoder.feed(data)
    return found


def test_a_call_is_answered(words: Words) -> None:
    assert ask(words, "Echo", "hello") == "hello"


def test_a_refusal_keeps_its_class_and_words(words: Words) -> None:
    with pytest.raises(NotFound, match=r"^gone$"):
        ask(words, "Refuse", "gone")


def test_what_nobody_foresaw_is_reported_and_the_server_goes_on(words: Words) -> None:
    with pytest.raises(StatusError, match="internal error: ZeroDivisionError"):
        ask(words, "Break")
    wait_until(lambda: [type(error) for error in words.reported] == [ZeroDivisionError])
    assert ask(words, "Echo", "still here") == "still here"


def test_calls_on_one_connection_end_in_any_order(words: Words) -> None:
    with Client(words.path) as client:
        held = [client.begin(SERVICE, "Never", StringValue()) for _ in range(50)]
        assert client.call(SERVICE, "Echo", StringValue(value="x"), timeout_s=5).value == "x"
        assert len(held) == 50


def test_a_call_has_the_time_that_its_client_gave_it(words: Words) -> None:
    with raw(words) as connection:
        connection.sendall(request("Never", 1, timeout_nano=20_000_000))
        status = ttrpc.Response.decode(responses(connection, 1)[0].payload).status
    assert status is not None
    assert (status.code, status.message) == (4, "context deadline exceeded")
    with pytest.raises(DeadlineExceeded):
        ask(words, "Never", timeout_s=0.05)


def test_who_goes_away_is_not_waited_for(words: Words) -> None:
    with Client(words.path) as client:
        client.begin(SERVICE, "Never", StringValue(value="leaver"))
        assert ask(words, "Echo", "x") == "x"
    while words.gone != ["leaver"]:
        assert ask(words, "Echo", "x") == "x"


def test_a_stream_number_is_used_once_and_is_odd(words: Words) -> None:
    with raw(words) as connection:
        connection.sendall(request("Echo", 3) + request("Echo", 3) + request("Echo", 1) + request("Echo", 6))
        codes = []
        for frame in responses(connection, 4):
            status = ttrpc.Response.decode(frame.payload).status
            codes.append(status.code if status else 0)
    assert codes == [0, 3, 3, 3]


@pytest.mark.parametrize(
    "noise",
    [
        struct.pack(">IIBB", 0xFFFFFFFF, 1, 1, 0),
        struct.pack(">IIBB", ttrpc.MESSAGE_LIMIT + 1, 1, 1, 0),
        ttrpc.encode(1, ttrpc.REQUEST, b"\xff\xff\xff"),
        b"GET / HTTP/1.1\r\nHost: example\r\n\r\n",
    ],
)
def test_a_connection_that_cannot_be_understood_is_closed_and_no_other(words: Words, noise: bytes) -> None:
    with Client(words.path) as other, raw(words) as connection:
        connection.sendall(noise)
        assert connection.recv(10) == b""
        assert other.call(SERVICE, "Echo", StringValue(value="x"), timeout_s=5).value == "x"


def test_a_request_that_is_no_message_is_refused_and_the_connection_lives(words: Words) -> None:
    with raw(words) as connection:
        connection.sendall(request("Echo", 1, b"\x0a\x05a") + request("Echo", 3))
        first, second = (ttrpc.Response.decode(f.payload).status for f in responses(connection, 2))
    assert first is not None
    assert (first.code, second) == (3, None)
    assert "malformed" in first.message


def test_frames_of_unknown_kinds_and_for_unknown_streams_are_ignored(words: Words) -> None:
    with raw(words) as connection:
        for kind in (0, ttrpc.RESPONSE, ttrpc.DATA, 77):
            connection.sendall(ttrpc.encode(99, kind, b"x"))
        connection.sendall(request("Echo", 1))
        assert responses(connection, 1)[0].stream == 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=120))
def test_noise_ends_at_most_its_own_connection(words: Words, data: bytes) -> None:
    with raw(words) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    assert not words.reported


def test_an_answer_too_long_for_a_frame_is_a_refusal(words: Words) -> None:
    with Client(words.path) as client, pytest.raises(StatusError, match="at most 4194304"):
        client.call(SERVICE, "Blow", UInt32Value(value=5 << 20), timeout_s=5)


def test_a_client_that_does_not_read_is_not_read_from(words: Words) -> None:
    """It may ask for as much as it likes: what waits for it stays within bounds."""
    with raw(words) as connection:
        payload = UInt32Value(value=1 << 20).encode()
        connection.setblocking(False)
        asked = 0
        try:
            while asked < 100_000:
                connection.sendall(request("Blow", asked * 2 + 1, payload))
                asked += 1
        except BlockingIOError:
            pass
        assert asked < 100_000
        assert ask(words, "Echo", "others are served") == "others are served"
        connection.setblocking(True)
        connection.settimeout(5)
        assert len(responses(connection, 8)) >= 8


def test_many_answers_come_in_their_order(words: Words) -> None:
    with raw(words) as connection:
        connection.sendall(request("Count", 1, UInt32Value(value=300).encode()))
        frames = responses(connection, 301)
    assert [UInt32Value.decode(f.payload).value for f in frames[:-1]] == list(range(300))
    assert (frames[0].kind, frames[-1].kind) == (ttrpc.DATA, ttrpc.RESPONSE)


def test_many_requests_are_heard_to_their_end(words: Words) -> None:
    with raw(words) as connection:
        opening = ttrpc.Request(service=SERVICE.full_name, method="Sum").encode()
        connection.sendall(ttrpc.encode(1, ttrpc.REQUEST, opening, flags=ttrpc.REMOTE_OPEN))
        for number in (1, 2, 3):
            connection.sendall(ttrpc.encode(1, ttrpc.DATA, UInt32Value(value=number).encode()))
        connection.sendall(ttrpc.encode(1, ttrpc.DATA, flags=ttrpc.REMOTE_CLOSED | ttrpc.NO_DATA))
        payload = ttrpc.Response.decode(responses(connection, 1)[0].payload).payload
    assert UInt32Value.decode(payload).value == 6


def test_a_stranger_is_not_served(root: None, words: Words) -> None:
    os.chmod(words.path, 0o777)
    os.chmod(Path(words.path).parent, 0o777)
    child = os.fork()
    if not child:
        os.chdir(Path(words.path).parent)
        os.setuid(65534)
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(Path(words.path).name)
                connection.settimeout(5)
                os._exit(0 if connection.recv(1) == b"" else 1)
        except OSError:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_nobody_there_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="nobody serves there"):
        Client(str(tmp_path / "none"))


def test_a_method_gets_no_message_of_another_form(words: Words) -> None:
    with raw(words) as connection:
        connection.sendall(request("Echo", 1, b"\x0a\x02\xff\xfe"))
        status = ttrpc.Response.decode(responses(connection, 1)[0].payload).status
    assert status is not None
    assert "UTF-8" in status.message
