"""The protocols over WebSocket that the Kubernetes client of Python does not speak."""

from __future__ import annotations

import base64
import json
import socket
import threading

import pytest
import websocket

from cloche.cri.streaming.runtime import ForwardRequest
from cloche.wire.http2_events import Data
from cloche.wire.spdy.connection import Connection
from tests.cri_streaming.clients import status
from tests.cri_streaming.local import POD, LocalServer


class Client:
    """A WebSocket: its messages by channel."""

    def __init__(self, url: str, protocol: str) -> None:
        self.socket = websocket.create_connection(
            url.replace("http", "ws"), subprotocols=[protocol] if protocol else None, timeout=20
        )
        self.channels: dict[int, bytes] = {}
        self.closed = 0

    def send(self, message: bytes | str) -> None:
        if isinstance(message, bytes):
            self.socket.send_binary(message)
        else:
            self.socket.send(message)

    def finish(self, *, text: bool = False) -> None:
        while not self.closed:
            operation, data = self.socket.recv_data()
            if operation == websocket.ABNF.OPCODE_CLOSE:
                self.closed = int.from_bytes(data[:2])
                break
            assert operation == (websocket.ABNF.OPCODE_TEXT if text else websocket.ABNF.OPCODE_BINARY)
            number = data[0] - 48 if text else data[0]
            content = base64.b64decode(data[1:]) if text else data[1:]
            self.channels[number] = self.channels.get(number, b"") + content
        self.socket.shutdown()


def test_v5_ends_stdin_alone(server: LocalServer) -> None:
    client = Client(server.exec("sort", stdin=True), "v5.channel.k8s.io")
    assert client.socket.getsubprotocol() == "v5.channel.k8s.io"
    client.send(b"\0b\na\n")
    client.send(b"\xff\0")
    client.finish()
    assert client.channels[1] == b"a\nb\n"
    assert json.loads(client.channels[3])["status"] == "Success"
    assert client.closed == 1000


@pytest.mark.parametrize(
    ("protocol", "code"),
    [("v4.base64.channel.k8s.io", b'"message":"7"'), ("base64.channel.k8s.io", b"exit code 7")],
)
def test_base64_goes_in_text(server: LocalServer, protocol: str, code: bytes) -> None:
    client = Client(server.exec("sh", "-c", "head -c 6; exit 7", stdin=True), protocol)
    client.send("0" + base64.b64encode(b"\xff\0\xfe").decode())
    client.send("0" + base64.b64encode(b"abc").decode())
    client.finish(text=True)
    assert client.channels[1] == b"\xff\0\xfeabc"
    assert code in client.channels[3]


@pytest.mark.parametrize("protocol", ["", "channel.k8s.io"])
def test_the_first_version_says_nothing_of_success(server: LocalServer, protocol: str) -> None:
    client = Client(server.exec("echo", "here"), protocol)
    client.finish()
    assert client.channels == {1: b"here\n"}


def test_a_message_may_come_in_pieces(server: LocalServer) -> None:
    client = Client(server.exec("head", "-c", "9", stdin=True), "v4.channel.k8s.io")
    frame = websocket.ABNF
    for data, operation, last in (
        (b"\0abc", frame.OPCODE_BINARY, 0),
        (b"def", frame.OPCODE_CONT, 0),
        (b"ghi", frame.OPCODE_CONT, 1),
    ):
        client.socket.send_frame(frame.create_frame(data, operation, last))
    client.finish()
    assert client.channels[1] == b"abcdefghi"


def test_a_ping_is_answered(server: LocalServer) -> None:
    client = Client(server.exec("cat", stdin=True), "v5.channel.k8s.io")
    client.socket.ping(b"there?")
    operations = [client.socket.recv_data_frame(control_frame=True) for _ in range(2)]
    assert (websocket.ABNF.OPCODE_PONG, b"there?") in [(op, frame.data) for op, frame in operations]
    client.send(b"\xff\0")
    client.finish()


@pytest.mark.parametrize("message", ["0!!!!", "0a"])
def test_what_is_no_base64_ends_the_connection_or_is_left_out(server: LocalServer, message: str) -> None:
    client = Client(server.exec("head", "-c", "1", stdin=True), "v4.base64.channel.k8s.io")
    client.send(message)
    client.send("0" + base64.b64encode(b"x").decode())
    client.finish(text=True)
    assert client.closed == (1007 if "!" in message else 1000)


def test_messages_for_no_channel_are_ignored(server: LocalServer) -> None:
    client = Client(server.exec("sh", "-c", "read line; echo $line", stdin=True), "v5.channel.k8s.io")
    for message in (b"", b"\x09nobody", b"\xff", b"\xff\x63", b"\x01not mine", b"\0line\n"):
        client.send(message)
    client.finish()
    assert client.channels[1] == b"line\n"


def test_a_protocol_that_nobody_knows_is_refused(server: LocalServer) -> None:
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    headers |= {
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol": "v9.channel.k8s.io",
    }
    assert status(server.exec("true"), headers, "GET") == 403
    headers["Sec-WebSocket-Version"] = "12"
    assert status(server.exec("true"), headers, "GET") == 400


def test_spdy_goes_through_a_websocket(server: LocalServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: answer_one(listener))
        thread.start()
        client = Client(server.url(ForwardRequest(POD)), "SPDY/3.1+portforward.k8s.io")
        spdy = Connection(client=True)
        for kind in ("error", "data"):
            spdy.open({"streamtype": kind, "port": str(listener.getsockname()[1]), "requestid": "0"})
        spdy.send_data(3, b"you", end=True)
        received = b""
        ended: set[int] = set()
        while ended != {1, 3}:
            if data := spdy.take():
                client.send(data)
            for event in spdy.receive(client.socket.recv_data()[1]):
                if isinstance(event, Data):
                    received += event.data
                    ended |= {event.stream} if event.end else set()
        assert received == b"hello you"
        client.socket.shutdown()
        thread.join()


def answer_one(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        data = b""
        while received := connection.recv(100):
            data += received
        connection.sendall(b"hello " + data)
