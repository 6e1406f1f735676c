"""A connection to a daemon's streaming server, over which SPDY is spoken: this client's half of it."""

from __future__ import annotations

import select
import socket
from urllib.parse import urlsplit

from cloche.errors import InvalidArgument, Unavailable
from cloche.spec.record import Record
from cloche.wire.http2_events import Closed, Data, Reset
from cloche.wire.spdy.connection import Connection, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

_CONNECT_S = 30
_SIZE = 1 << 16
_HEAD_LIMIT = 1 << 16
_AHEAD = 1 << 18
"""Bytes that may wait to be sent before nothing more is read from where they come."""


class Credentials(Record):
    """For servers that want TLS: files, "" for none. name: whose certificate it has to be."""

    authority: str = ""
    certificate: str = ""
    key: str = ""
    name: str = "localhost"

    def context(self) -> ssl.SSLContext:
        """What to connect with; without files any certificate is taken, as crictl does."""
        import ssl

        context = ssl.create_default_context(cafile=self.authority or None)
        if not self.authority:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key)
        return context


class Upgraded:
    """One connection. on_data, on_end: for each stream, what is done with bytes that come, and at its end.

    Raises Unavailable where there is no server, or it does not upgrade.
    """

    def __init__(self, url: str, protocol: str, credentials: Credentials) -> None:
        self.on_data: dict[int, Callable[[bytes], None]] = {}
        self.on_end: dict[int, Callable[[], None]] = {}
        self.ended: set[int] = set()
        self.lost = False
        self._spdy = Connection(client=True, limits=Limits(credit=False))
        self._unsent = bytearray()
        self._deaf = False
        place = urlsplit(url)
        if place.scheme not in ("http", "https") or not place.hostname:
            raise InvalidArgument(f"the daemon's answer {url!r} is no URL of a streaming server")
        host, port = place.hostname, place.port or (443 if place.scheme == "https" else 80)
        try:
            self._socket: socket.socket = socket.create_connection((host, port), timeout=_CONNECT_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if place.scheme == "https":
                self._socket = credentials.context().wrap_socket(
                    self._socket, server_hostname=credentials.name
                )
        except OSError as error:
            raise Unavailable(f"the streaming server {host}:{port}: {error.strerror or error}") from None
        target = place.path + (f"?{place.query}" if place.query else "")
        rest = self._upgrade(target, f"{host}:{port}", protocol)
        self._socket.setblocking(False)
        self._take(rest)

    def _upgrade(self, target: str, host: str, protocol: str) -> bytes:
        request = (
            f"POST {target} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
            f"X-Stream-Protocol-Version: {protocol}\r\nContent-Length: 0\r\n\r\n"
        )
        self._socket.sendall(request.encode())
        data = b""
        while b"\r\n\r\n" not in data:
            received = self._socket.recv(_SIZE)
            data += received
            if not received or len(data) > _HEAD_LIMIT:
                raise Unavailable("the streaming server closed the connection before it had answered")
        head, _, rest = data.partition(b"\r\n\r\n")
        line = head.split(b"\r\n")[0].decode("latin-1")
        if line.split(" ")[1:2] != ["101"]:
            said = rest.decode("utf-8", "replace").strip()
            raise Unavailable(f"the streaming server refuses: {line.partition(' ')[2]}: {said}".rstrip(": "))
        return rest

    def open(self, headers: Mapping[str, str], on_data: Callable[[bytes], None]) -> int:
        """Open a stream; its number."""
        number = self._spdy.open(headers)
        self.on_data[number] = on_data
        return number

    def send(self, number: int, data: bytes, *, end: bool = False) -> None:
        """Send data on a stream, as soon as the server takes it. end: nothing follows."""
        self._spdy.send_data(number, data, end=end)

    def forget(self, number: int) -> None:
        """Nobody waits for a stream any more."""
        self.on_data.pop(number, None)
        self.on_end.pop(number, None)
        self.ended.discard(number)
        self._spdy.reset(number)

    @property
    def crowded(self) -> bool:
        """Whether so much waits to be sent that no more should be read."""
        return len(self._unsent) > _AHEAD

    def step(self, watched: Mapping[int, Callable[[], None]]) -> None:
        """Wait until something comes, here or at a watched descriptor, and deal with it."""
        data = self._spdy.take()
        if not self._deaf:
            self._unsent += data
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        for descriptor in watched:
            poll.register(descriptor, select.POLLIN)
        ready = dict(poll.poll(0 if self._pending() else None))
        events = ready.pop(self._socket.fileno(), 0)
        if events & select.POLLOUT:
            self._send()
        if events & ~select.POLLOUT or self._pending():
            self._receive()
        for descriptor in ready:
            watched[descriptor]()

    def _pending(self) -> bool:
        """Whether TLS has bytes that the descriptor does not show."""
        pending = getattr(self._socket, "pending", None)
        return bool(pending and pending())

    def _send(self) -> None:
        try:
            del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            # It takes no more, and may have said something before: that is still read.
            self._unsent.clear()
            self._deaf = True

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            # SSLWantReadError is one of these.
            if type(error).__name__.startswith("SSLWant"):
                return
            data = b""
        self.lost = self.lost or not data
        self._take(data)

    def _take(self, data: bytes) -> None:
        for event in self._spdy.receive(data):
            if isinstance(event, Data):
                if event.data and event.stream in self.on_data:
                    self.on_data[event.stream](event.data)
                if event.end:
                    self._end(event.stream)
            elif isinstance(event, Reset):
                self._end(event.stream)
            elif isinstance(event, Closed):
                self.lost = True

    def _end(self, number: int) -> None:
        self.ended.add(number)
        if act := self.on_end.pop(number, None):
            act()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Upgraded:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
