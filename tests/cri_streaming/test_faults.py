"""What goes wrong between us and a client ends that client's connection, and nothing else."""

from __future__ import annotations

import os
import socket
import ssl
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloche.cri.streaming import connection as client_connection
from cloche.cri.streaming.runtime import AttachRequest, ExecRequest, ForwardRequest
from cloche.cri.streaming.server import Settings, StreamingServer
from cloche.errors import FailedPrecondition, InvalidArgument
from cloche.wire.spdy import frames
from tests.cri_streaming.clients import SPDY, Answer, SpdyClient, connect, request, status
from tests.cri_streaming.local import CONTAINER, POD, LocalRuntime, LocalServer
from tests.image.certificates import make_authority
from tests.waiting import wait_until

V4 = SPDY | {"X-Stream-Protocol-Version": "v4.channel.k8s.io"}
GIB = 1 << 30


def rss_bytes() -> int:
    """What this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_token_is_good_for_one_request(server: LocalServer) -> None:
    url = server.exec("true")
    assert status(url, V4) == 101
    assert status(url, V4) == 404


def test_a_request_that_is_refused_has_used_its_token(server: LocalServer) -> None:
    url = server.exec("true")
    assert status(url) == 400
    assert status(url, V4) == 404


@pytest.mark.parametrize(
    "path", ["/exec/unknown", "/exec/", "/exec", "/", "/stats", "/exec/a/b", "/exec/%00"]
)
def test_what_has_no_token_is_not_found(server: LocalServer, path: str) -> None:
    base = server.exec("true").rsplit("/", 2)[0]
    assert status(f"{base}{path}", V4) == 404


def test_a_token_is_good_for_one_purpose(server: LocalServer) -> None:
    assert status(server.exec("true").replace("/exec/", "/attach/"), V4) == 404
    assert status(server.url(ForwardRequest(POD)).replace("/portforward/", "/exec/"), V4) == 404


@pytest.mark.parametrize(
    ("headers", "method", "code"),
    [
        ({}, "POST", 400),
        (V4, "DELETE", 405),
        (SPDY, "POST", 400),
        (SPDY | {"X-Stream-Protocol-Version": " , "}, "POST", 400),
        (SPDY | {"X-Stream-Protocol-Version": "v9.channel.k8s.io"}, "POST", 403),
        (SPDY | {"X-Stream-Protocol-Version": "portforward.k8s.io"}, "POST", 403),
        ({"Upgrade": "websocket", "Connection": "Upgrade"}, "GET", 400),
        ({"Upgrade": "h2c", "Connection": "Upgrade"}, "GET", 400),
    ],
)
def test_requests_that_ask_for_something_else_are_refused(
    server: LocalServer, headers: dict[str, str], method: str, code: int
) -> None:
    assert status(server.exec("true"), headers, method) == code


def test_the_protocols_that_are_known_are_named(server: LocalServer) -> None:
    connection, answer = request(
        server.exec("true"), SPDY | {"X-Stream-Protocol-Version": "v9.channel.k8s.io"}
    )
    connection.close()
    assert ("x-accepted-stream-protocol-versions", "v4.channel.k8s.io") in answer.headers


@pytest.mark.parametrize(
    "sent",
    [
        b"\x80\x03\x00\x01\x00\x00\x00\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"a" * 40_000,
    ],
)
def test_what_is_no_http_is_refused(server: LocalServer, sent: bytes) -> None:
    connection = connect(server.exec("true"))
    connection.sendall(sent)
    assert Answer(connection).status in (400, 431)
    connection.close()


def test_requests_that_make_no_sense_have_no_url(server: LocalServer) -> None:
    for wrong in (
        ExecRequest("", False, True, True),
        ExecRequest(CONTAINER),
        AttachRequest(CONTAINER, False, True, True, True),
        ForwardRequest(""),
    ):
        with pytest.raises(InvalidArgument):
            server.url(wrong)
    with pytest.raises(FailedPrecondition):
        StreamingServer(LocalRuntime()).url(ForwardRequest(POD))


def test_a_client_that_breaks_spdy_is_told_so_and_hung_up_on(server: LocalServer) -> None:
    client = SpdyClient(server.exec("sleep", "1000"))
    client.open("error", "stdout", "stderr")
    client.socket.sendall(frames.data_header(0, 1, fin=False) + b"x")
    client.finish()
    assert client.gone
    server.wait_for_sessions()
    assert LocalRuntime.closed == [-9]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.binary(min_size=1, max_size=200), st.booleans())
def test_bytes_after_the_upgrade_upset_nobody_else(server: LocalServer, sent: bytes, websocket: bool) -> None:
    headers = V4
    if websocket:
        headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        headers |= {
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Protocol": "v5.channel.k8s.io",
        }
    connection, answer = request(server.exec("cat", stdin=True), headers, "GET")
    assert answer.status == 101
    connection.sendall(sent)
    connection.shutdown(socket.SHUT_WR)
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    connection.close()
    server.wait_for_sessions()
    client = SpdyClient(server.exec("echo", "here"))
    _, stdout, _ = client.open("error", "stdout", "stderr")
    client.finish()
    assert client.received[stdout] == b"here\n"


def test_a_client_that_opens_no_channels_is_not_waited_for() -> None:
    server = LocalServer(Settings(creation_timeout_s=0.1))
    try:
        client = SpdyClient(server.exec("true"))
        client.open("error")
        client.finish()
        forwarding = SpdyClient(server.url(ForwardRequest(POD)), "portforward.k8s.io")
        (alone,) = forwarding.open("data", port="80", requestid="1")
        while alone not in forwarding.reset:
            assert forwarding.step()
        forwarding.socket.close()
        assert LocalRuntime.closed == []
    finally:
        server.close()


def test_a_connection_on_which_nothing_happens_ends() -> None:
    server = LocalServer(Settings(idle_timeout_s=0.2))
    try:
        client = SpdyClient(server.exec("sh", "-c", "sleep 0.1; echo still; sleep 1000"))
        _, stdout, _ = client.open("error", "stdout", "stderr")
        client.finish()
        assert client.received[stdout] == b"still\n"
        assert not client.gone, "it is not the end that a program has"
        server.wait_for_sessions()
        assert LocalRuntime.closed == [-9]
    finally:
        server.close()


def test_a_request_that_does_not_come_is_not_waited_for(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_connection, "_REQUEST_TIMEOUT_S", 0.1)
    connection = connect(server.exec("true"))
    connection.sendall(b"POST /exec/")
    assert Answer(connection).status == 408
    connection.close()


def test_a_client_that_goes_behind_bytes_that_nobody_reads_is_noticed(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """We do not read from it, so that its end is not seen by reading."""
    monkeypatch.setattr(client_connection, "_LOOK_AFTER_S", 0.1)
    client = SpdyClient(server.exec("sleep", "1000", stdin=True))
    _, stdin, *_ = client.open("error", "stdin", "stdout", "stderr")
    client.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.send(stdin, bytes(100 << 20))
    client.socket.close()
    server.wait_for_sessions()
    assert LocalRuntime.closed == [-9]


def test_a_server_that_stops_ends_what_runs() -> None:
    server = LocalServer()
    client = SpdyClient(server.exec("sleep", "1000"))
    client.open("error", "stdout", "stderr")
    server.close()
    client.finish()
    assert not client.gone
    assert LocalRuntime.closed == [-9]


def test_a_gigabyte_for_a_slow_reader_is_not_held_in_memory(server: LocalServer) -> None:
    # Nothing comes before all channels are there: the client has then shown no window to keep to.
    client = SpdyClient(server.exec("sh", "-c", f"sleep 0.2; exec head -c {GIB} /dev/zero"))
    client.open("error", "stdout", "stderr")
    before, most, total = rss_bytes(), 0, 0
    buffer = bytearray(1 << 20)
    pauses = 10
    while size := client.socket.recv_into(buffer):
        total += size
        if total > GIB // 10 * (11 - pauses):
            pauses -= 1
            time.sleep(0.05)
        most = max(most, rss_bytes())
    client.socket.close()
    assert total > GIB
    assert most - before < 16 << 20
    wait_until(lambda: LocalRuntime.closed == [0])


def test_what_a_program_does_not_read_is_not_held_in_memory(server: LocalServer) -> None:
    client = SpdyClient(server.exec("sh", "-c", "sleep 0.5; wc -c", stdin=True))
    _, stdin, stdout, _ = client.open("error", "stdin", "stdout", "stderr")
    before = rss_bytes()
    piece = bytes(1 << 20)
    for _ in range(100):
        client.send(stdin, piece)
    assert rss_bytes() - before < 16 << 20
    client.send(stdin, b"", end=True)
    client.finish()
    assert client.received[stdout].strip() == str(100 << 20).encode()


def test_tls_is_spoken_where_there_is_a_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_connection, "_LINGER_S", 0.1)
    authority = make_authority(tmp_path)
    server = LocalServer(
        Settings(certificate=str(authority / "server.pem"), key=str(authority / "server.key"))
    )
    try:
        url = server.exec("sh", "-c", "head -c 300000 /dev/zero; exit 4")
        assert url.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=str(authority / "ca.pem"))
        client = SpdyClient(url, tls=context)
        error, stdout, _ = client.open("error", "stdout", "stderr")
        client.finish()
        assert len(client.received[stdout]) == 300_000
        assert b'"message":"4"' in client.received[error]
    finally:
        server.close()


def test_a_certificate_that_cannot_be_read_is_named() -> None:
    with pytest.raises(InvalidArgument, match=r"/nowhere\.pem"):
        LocalServer(Settings(certificate="/nowhere.pem"))
