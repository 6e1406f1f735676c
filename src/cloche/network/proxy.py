"""Published ports by copying: what the kernel's rules cannot forward, or shall not.

    loopback, of IPv4 and IPv6       the kernel forwards nothing that comes from there
    IPv6 to a container without it   there is no translation
    a host whose firewall is to be   what a process listens on passes the rules for the host's own
    obeyed                           services, as ufw and firewalld write them

The sockets are somebody else's making (`network.publishing`), who has them listen already.
"""

from __future__ import annotations

import errno
import socket
import time

from cloche.network.events import READ, WRITE, Events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CHUNK_BYTES = 1 << 16
_DATAGRAM_BYTES = 65535
_FLOWS = 4096
_FLOW_S = 90.0
_FULL_PAUSE_S = 0.05


class StreamProxy:
    """A listening socket of TCP, and the address that its connections lead to."""

    def __init__(self, events: Events, listener: socket.socket, target: tuple[str, int]) -> None:
        self._events = events
        self._listener = listener
        self._target = target
        listener.setblocking(False)
        events.watch(listener.fileno(), READ, self._accept)

    def _accept(self, _: int) -> None:
        try:
            client, _address = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                time.sleep(_FULL_PAUSE_S)  # it would be told of the same connection at once
            return
        client.setblocking(False)
        family = socket.AF_INET6 if ":" in self._target[0] else socket.AF_INET
        server = socket.socket(family, socket.SOCK_STREAM)
        server.setblocking(False)
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            server.connect(self._target)
        except BlockingIOError:
            pass
        except OSError:
            client.close()
            server.close()
            return
        Connection(self._events, client, server)


class Connection:
    """A client and its server: what one says the other hears, and the end of it too."""

    def __init__(self, events: Events, client: socket.socket, server: socket.socket) -> None:
        self._events = events
        self._ends = (client, server)
        self._connected = False
        self._held = [b"", b""]  # read from an end, and not yet written to the other
        self._over = [False, False]  # nothing more is to be read from an end
        self._shut = [False, False]  # the other end was told so
        self._turns = (lambda got: self._turn(0, got), lambda got: self._turn(1, got))
        events.watch(server.fileno(), WRITE, self._turns[1])

    def _turn(self, number: int, got: int) -> None:
        try:
            if not self._connected:
                error = self._ends[1].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    self._close()
                    return
                self._connected = True
            if got & ~WRITE:
                self._read(number)
            self._write(0)
            self._write(1)
        except OSError:
            self._close()
            return
        if all(self._shut):
            self._close()
        else:
            self._wait()

    def _read(self, number: int) -> None:
        if self._held[number] or self._over[number]:
            return
        try:
            data = self._ends[number].recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        self._held[number] = data
        self._over[number] = not data

    def _write(self, source: int) -> None:
        """What was read from an end goes to the other."""
        other = self._ends[1 - source]
        if self._held[source]:
            try:
                sent = other.send(self._held[source])
            except BlockingIOError:
                return
            self._held[source] = self._held[source][sent:]
        if self._over[source] and not self._held[source] and not self._shut[source]:
            self._shut[source] = True
            other.shutdown(socket.SHUT_WR)

    def _wait(self) -> None:
        for number, end in enumerate(self._ends):
            reading = READ if not self._held[number] and not self._over[number] else 0
            writing = WRITE if self._held[1 - number] else 0
            if reading | writing:
                self._events.watch(end.fileno(), reading | writing, self._turns[number])
            else:
                # Its hang-up would be told again and again.
                self._events.forget(end.fileno())

    def _close(self) -> None:
        for end in self._ends:
            self._events.forget(end.fileno())
            end.close()


class DatagramProxy:
    """A socket of UDP: each client gets a socket of its own, by which the answers find back."""

    def __init__(self, events: Events, listener: socket.socket, target: tuple[str, int]) -> None:
        self._events = events
        self._listener = listener
        self._target = target
        self._flows: dict[Any, tuple[socket.socket, float]] = {}
        self._now = 0.0
        listener.setblocking(False)
        events.watch(listener.fileno(), READ, self._receive)
        events.regularly(self._clean)

    def _receive(self, _: int) -> None:
        try:
            data, client = self._listener.recvfrom(_DATAGRAM_BYTES)
            server = self._flow(client)
            if server is not None:
                server.send(data)
        except OSError:
            return

    def _flow(self, client: Any) -> socket.socket | None:
        found = self._flows.get(client)
        if found is None and len(self._flows) >= _FLOWS:
            return None
        if found is None:
            family = socket.AF_INET6 if ":" in self._target[0] else socket.AF_INET
            server = socket.socket(family, socket.SOCK_DGRAM)
            server.setblocking(False)
            server.connect(self._target)
            self._events.watch(server.fileno(), READ, lambda _: self._answer(server, client))
        else:
            server = found[0]
        self._flows[client] = (server, self._now)
        return server

    def _answer(self, server: socket.socket, client: Any) -> None:
        try:
            self._listener.sendto(server.recv(_DATAGRAM_BYTES), client)
        except OSError:
            return

    def _clean(self, now: float) -> None:
        self._now = now
        for client, (server, at) in list(self._flows.items()):
            if now - at > _FLOW_S and at:
                self._events.forget(server.fileno())
                server.close()
                del self._flows[client]
