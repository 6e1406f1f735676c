"""Ports of this machine that lead into a pod, each connection over two streams of one SPDY connection."""

from __future__ import annotations

import socket
from functools import partial

from cloche.cli.arguments import UsageError
from cloche.cli.crictl.upgraded import Credentials, Upgraded
from cloche.cli.output import line, warn
from cloche.errors import FailedPrecondition, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PROTOCOL = "portforward.k8s.io"
_SIZE = 1 << 16
_BACKLOG = 128
_LARGEST = 65535


def ports_of(word: str) -> tuple[int, int]:
    """The local and the remote port of "8080:80", "80" or ":80" (any local one). Raises UsageError."""
    local, colon, remote = word.rpartition(":")
    local = (local or "0") if colon else remote
    for port, least in ((local, 0), (remote, 1)):
        if not (port.isascii() and port.isdigit() and least <= int(port[:6]) <= _LARGEST):
            raise UsageError(f"{word!r} must be [LOCAL_PORT:]REMOTE_PORT")
    return int(local), int(remote)


class Forwarding:
    """Listens, and carries what comes. Raises FailedPrecondition where a port is taken."""

    def __init__(self, url: str, credentials: Credentials, ports: list[tuple[int, int]]) -> None:
        self._connection = Upgraded(url, _PROTOCOL, credentials)
        self._watched: dict[int, Callable[[], None]] = {}
        self._requests = 0
        for local, remote in ports:
            self._listen(local, remote)

    def _listen(self, local: int, remote: int) -> None:
        for family, host, shown in (
            (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
            (socket.AF_INET6, "::1", "[::1]"),
        ):
            try:
                listener = socket.create_server((host, local), family=family, backlog=_BACKLOG)
            except OSError as error:
                if family == socket.AF_INET6:  # a machine may have no IPv6
                    continue
                raise FailedPrecondition(f"port {local} of {shown}: {error.strerror}") from None
            local = listener.getsockname()[1]
            listener.setblocking(False)
            self._watched[listener.fileno()] = partial(self._accept, listener, remote)
            line(f"Forwarding from {shown}:{local} -> {remote}")

    def run(self) -> None:
        """Until the server ends the connection, which is an error."""
        while not self._connection.lost:
            self._connection.step(self._watched)
        raise Unavailable("lost connection to pod")

    def _accept(self, listener: socket.socket, remote: int) -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        line(f"Handling connection for {listener.getsockname()[1]}")
        _Forwarded(self._connection, self._watched, client, remote, self._requests)
        self._requests += 1


class _Forwarded:
    """One connection of a client, and its two streams."""

    def __init__(
        self,
        connection: Upgraded,
        watched: dict[int, Callable[[], None]],
        client: socket.socket,
        remote: int,
        request: int,
    ) -> None:
        self._connection, self._watched, self._client = connection, watched, client
        self._descriptor = client.fileno()
        self._remote = remote
        headers = {"port": str(remote), "requestid": str(request)}
        self._error = connection.open(headers | {"streamtype": "error"}, self._failed)
        self._data = connection.open(headers | {"streamtype": "data"}, self._came)
        connection.send(self._error, b"", end=True)
        connection.on_end[self._data] = self._ended
        watched[self._descriptor] = self._read

    def _failed(self, data: bytes) -> None:
        warn(f"forwarding to port {self._remote}: {data.decode('utf-8', 'replace')}")
        self._close()

    def _came(self, data: bytes) -> None:
        try:
            # A client that does not read holds up all of them, as it does with kubectl.
            self._client.settimeout(None)
            self._client.sendall(data)
        except OSError:
            self._close()

    def _ended(self) -> None:
        try:
            self._client.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        if self._descriptor not in self._watched:
            self._close()

    def _read(self) -> None:
        if self._connection.crowded:
            return
        try:
            data = self._client.recv(_SIZE)
        except OSError:
            data = b""
        self._connection.send(self._data, data, end=not data)
        if not data:
            self._watched.pop(self._descriptor, None)
            if self._data in self._connection.ended:
                self._close()

    def _close(self) -> None:
        self._watched.pop(self._descriptor, None)
        for number in (self._error, self._data):
            self._connection.forget(number)
        self._client.close()
