"""Clients that do what they like: requests by hand, and SPDY by our own codec's other half."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

from cloche.wire.http2_events import Closed, Data, Reset
from cloche.wire.spdy.connection import Connection, Limits
from cloche.wire.spdy.events import GoneAway, Replied

SPDY = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}


class Answer:
    """A response's head, and what came behind it."""

    def __init__(self, connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            received = connection.recv(65536)
            if not received:
                break
            data += received
        head, _, self.rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1]) if first else 0
        self.headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]


def connect(url: str, tls: ssl.SSLContext | None = None) -> socket.socket:
    """A connection to the server of a URL."""
    place = urlsplit(url)
    connection = socket.create_connection((place.hostname, place.port), timeout=20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return tls.wrap_socket(connection, server_hostname=place.hostname) if tls else connection


def request(
    url: str, headers: dict[str, str], method: str = "POST", tls: ssl.SSLContext | None = None
) -> tuple[socket.socket, Answer]:
    """Send a request; the connection and the answer."""
    connection = connect(url, tls)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection.sendall(f"{method} {urlsplit(url).path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
    return connection, Answer(connection)


def status(url: str, headers: dict[str, str] | None = None, method: str = "POST") -> int:
    """What a request is answered with."""
    connection, answer = request(url, headers or {}, method)
    connection.close()
    return answer.status


class SpdyClient:
    """A client of the server, as far as a test wants it to be one.

    window: bytes of a stream that it takes before it says that it has dealt with them; 0 for none, as
    Kubernetes' clients.
    """

    def __init__(
        self,
        url: str,
        protocol: str = "v4.channel.k8s.io",
        window: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        headers = SPDY | {"X-Stream-Protocol-Version": protocol}
        self.socket, self.answer = request(url, headers, tls=tls)
        assert self.answer.status == 101, self.answer.status
        self.spdy = Connection(client=True, limits=Limits(window=window))
        self.received: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.replied: set[int] = set()
        self.reset: set[int] = set()
        self.gone = False
        self._take(self.answer.rest)

    def open(self, *kinds: str, **headers: str) -> list[int]:
        """Open a stream of each kind; returns when the server has taken them."""
        numbers = [self.spdy.open({"streamtype": kind, **headers}) for kind in kinds]
        self.flush()
        while not self.replied >= set(numbers):
            assert self.step(), "the server hung up"
        return numbers

    def send(self, number: int, data: bytes, *, end: bool = False) -> None:
        """Send on a stream."""
        self.spdy.send_data(number, data, end=end)
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.spdy.take())

    def step(self) -> bool:
        """Take what comes next; False at the end."""
        data = self.socket.recv(1 << 18)
        self._take(data)
        return bool(data)

    def finish(self) -> None:
        """Take everything until the server hangs up."""
        while self.step():
            pass
        self.socket.close()

    def _take(self, data: bytes) -> None:
        for event in self.spdy.receive(data):
            if isinstance(event, Data):
                self.received[event.stream] = self.received.get(event.stream, b"") + event.data
                self.spdy.consumed(event.stream, len(event.data))
                if event.end:
                    self.ended.add(event.stream)
            elif isinstance(event, Replied):
                self.replied.add(event.stream)
            elif isinstance(event, Reset):
                self.reset.add(event.stream)
            elif isinstance(event, GoneAway):
                self.gone = True
            assert not isinstance(event, Closed), event.reason
        self.flush()
