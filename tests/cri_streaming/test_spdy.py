"""exec, attach and port-forward over SPDY, by our own codec's other half.

crictl, which is client-go, is asked in tests/cri.
"""

from __future__ import annotations

import json
import os
import socket
import threading

import pytest

from cloche.cri.streaming.runtime import AttachRequest, ExecRequest, ForwardRequest
from tests.cri_streaming.clients import SpdyClient
from tests.cri_streaming.local import CONTAINER, POD, LocalRuntime, LocalServer


def test_output_and_the_exit_code_are_on_channels_of_their_own(server: LocalServer) -> None:
    client = SpdyClient(server.exec("sh", "-c", "echo out; echo err >&2; exit 3"))
    error, stdout, stderr = client.open("error", "stdout", "stderr")
    client.finish()
    assert client.received[stdout] == b"out\n"
    assert client.received[stderr] == b"err\n"
    status = json.loads(client.received[error])
    assert status["status"] == "Failure"
    assert status["reason"] == "NonZeroExitCode"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    assert client.ended == {error, stdout, stderr}
    assert client.gone
    assert LocalRuntime.closed == [3]


@pytest.mark.parametrize(
    ("protocol", "told"),
    [
        ("v3.channel.k8s.io", b"exit code 3"),
        ("v2.channel.k8s.io", b"exit code 3"),
        ("channel.k8s.io", b"exit code 3"),
    ],
)
def test_older_clients_are_told_in_words(server: LocalServer, protocol: str, told: bytes) -> None:
    client = SpdyClient(server.exec("sh", "-c", "exit 3"), protocol)
    error, *_ = client.open("error", "stdout", "stderr")
    client.finish()
    assert told in client.received[error]
    client = SpdyClient(server.exec("true"), protocol)
    error, *_ = client.open("error", "stdout", "stderr")
    client.finish()
    assert not client.received[error]


def test_the_end_of_stdin_is_the_end_for_the_program(server: LocalServer) -> None:
    client = SpdyClient(server.exec("sort", stdin=True))
    _, stdin, stdout, _ = client.open("error", "stdin", "stdout", "stderr")
    client.send(stdin, b"b\na\n", end=True)
    client.finish()
    assert client.received[stdout] == b"a\nb\n"


def test_a_client_that_sends_on_after_the_program_reads_no_more_loses_nothing(server: LocalServer) -> None:
    client = SpdyClient(server.exec("sh", "-c", "exec <&-; echo done; sleep 0.2", stdin=True))
    _, stdin, stdout, _ = client.open("error", "stdin", "stdout", "stderr")
    for _ in range(100):
        client.send(stdin, bytes(60_000))
    client.finish()
    assert client.received[stdout] == b"done\n"


def test_windows_of_a_client_that_has_some_are_kept(server: LocalServer) -> None:
    client = SpdyClient(server.exec("head", "-c", "3000000", "/dev/zero"), window=10_000)
    _, stdout, _ = client.open("error", "stdout", "stderr")
    client.finish()
    assert len(client.received[stdout]) == 3_000_000


def test_a_channel_that_nobody_asked_for_is_empty(server: LocalServer) -> None:
    """client-go opens one for stdin wherever its user has a stdin."""
    client = SpdyClient(server.exec("sh", "-c", "sleep 0.1; echo here"))
    error, stdin, stdout, _, late = client.open("error", "stdin", "stdout", "stderr", "resize")
    client.send(stdin, b"ignored")
    client.finish()
    assert client.received[stdout] == b"here\n"
    assert b"Success" in client.received[error]
    assert {stdin, late} <= client.ended


def test_a_channel_of_no_known_kind_is_reset(server: LocalServer) -> None:
    client = SpdyClient(server.exec("true"))
    (number,) = [client.spdy.open({"streamtype": "nonsense"})]
    client.flush()
    client.open("error", "stdout", "stderr")
    client.finish()
    assert client.reset == {number}


def test_sizes_of_a_terminal_are_followed(server: LocalServer) -> None:
    client = SpdyClient(
        server.exec("sh", "-c", "read x; stty size; read x; stty size", stdin=True, terminal=True)
    )
    _, stdin, stdout, resize = client.open("error", "stdin", "stdout", "resize")
    client.send(resize, b'{"Width":90,"Hei')
    client.send(resize, b'ght":20}\n{"Width":91,"Height":21}\n')
    client.send(stdin, b"\n")
    while b"21 91" not in client.received.get(stdout, b""):
        assert client.step()
    client.send(resize, b"nonsense")
    client.send(stdin, b"\n")
    client.finish()
    assert client.received[stdout].count(b"21 91") == 2


def test_the_program_of_a_client_that_goes_is_hung_up_on(server: LocalServer) -> None:
    client = SpdyClient(server.exec("sleep", "1000"))
    client.open("error", "stdout", "stderr")
    client.socket.close()
    server.wait_for_sessions()
    assert LocalRuntime.closed == [-9]


def test_a_client_that_gives_up_one_channel_has_the_others(server: LocalServer) -> None:
    client = SpdyClient(server.exec("sh", "-c", "sleep 0.1; head -c 1000000 /dev/zero; echo err >&2"))
    error, stdout, stderr = client.open("error", "stdout", "stderr")
    client.spdy.reset(stdout)
    client.flush()
    client.finish()
    assert client.received[stderr] == b"err\n"
    assert b"Success" in client.received[error]


def test_an_attached_client_reads_and_writes(server: LocalServer) -> None:
    client = SpdyClient(server.url(AttachRequest(CONTAINER, True, True, True)))
    error, stdin, stdout, _ = client.open("error", "stdin", "stdout", "stderr")
    client.send(stdin, b"one\ntwo\n", end=True)
    client.finish()
    assert client.received[stdout] == b"echo: one\necho: two\n"
    assert json.loads(client.received[error])["status"] == "Success", "whatever it exits with"


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (ExecRequest("other", False, True, True, False, ("true",)), "container 'other': not found"),
        (
            ExecRequest(CONTAINER, False, True, True, False, ("no-program",)),
            "'no-program': executable file not found",
        ),
        (AttachRequest("other", False, True, True), "container 'other': not found"),
    ],
)
def test_what_cannot_be_done_says_why(server: LocalServer, request_: AttachRequest, why: str) -> None:
    client = SpdyClient(server.url(request_))
    error, *_ = client.open("error", "stdout", "stderr")
    client.finish()
    status = json.loads(client.received[error])
    assert status["status"] == "Failure"
    assert status["reason"] == "InternalError"
    assert why in status["message"]


class Port:
    """A port of the pod. serve(connection) is what happens to each that connects."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.number = self.listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                data = b""
                while received := connection.recv(1 << 16):
                    data += received
                connection.sendall(b"%d bytes " % len(data) + data)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self.listener.close()


@pytest.fixture
def port() -> Port:  # type: ignore[misc]  # a generator is what pytest takes
    running = Port()
    yield running
    running.close()


def forwarding(server: LocalServer) -> SpdyClient:
    return SpdyClient(server.url(ForwardRequest(POD)), "portforward.k8s.io")


def test_connections_are_forwarded_each_by_itself_with_half_closes(server: LocalServer, port: Port) -> None:
    client = forwarding(server)
    error, data = client.open("error", "data", port=str(port.number), requestid="0")
    other_error, other = client.open("error", "data", port=str(port.number), requestid="1")
    payload = os.urandom(500_000)
    client.send(other, b"short", end=True)
    client.send(data, payload, end=True)
    while not {data, other, error, other_error} <= client.ended:
        assert client.step()
    assert client.received[data] == b"500000 bytes " + payload
    assert client.received[other] == b"5 bytes short"
    assert not client.received[error]
    client.socket.close()


def test_old_clients_number_no_requests(server: LocalServer, port: Port) -> None:
    client = forwarding(server)
    for _ in range(2):
        _, data = client.open("error", "data", port=str(port.number))
        client.send(data, b"old", end=True)
        while data not in client.ended:
            assert client.step()
        assert client.received[data] == b"3 bytes old"
    client.socket.close()


def test_a_port_that_nobody_listens_on_says_so(server: LocalServer) -> None:
    client = forwarding(server)
    error, data = client.open("error", "data", port="1", requestid="0")
    while not (error in client.ended and data in client.reset):
        assert client.step()
    assert client.received[error].startswith(b"error forwarding port 1 to pod p1, uid : port 1: ")
    client.socket.close()


@pytest.mark.parametrize("number", ["", "0", "65536", "99999999999", "-1", "http", "\u0661"])
def test_a_port_that_is_none_is_refused(server: LocalServer, number: str) -> None:
    client = forwarding(server)
    stream = client.spdy.open({"streamtype": "data", "port": number.encode().decode("latin-1")})
    client.flush()
    while stream not in client.reset:
        assert client.step()
    client.socket.close()


def test_a_second_channel_of_the_same_kind_is_refused(server: LocalServer) -> None:
    client = forwarding(server)
    client.open("error", port="1", requestid="0")
    second = client.spdy.open({"streamtype": "error", "port": "1", "requestid": "0"})
    client.flush()
    while second not in client.reset:
        assert client.step()
    client.socket.close()
