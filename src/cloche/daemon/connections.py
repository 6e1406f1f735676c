"""The connections of a server, and how they end: first no new calls, then none at all."""

from __future__ import annotations

import asyncio
import socket
from struct import Struct

from cloche.daemon.call import Peer
from cloche.daemon.lanes import Lanes
from cloche.wire.http2_limits import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from cloche.daemon.services import Services

    class ServerConnection(Protocol):
        """What the protocols of both transports have in common."""

        @property
        def idle(self) -> bool: ...

        def stop(self) -> None: ...

        def refuse_all(self, reason: str) -> None: ...


_CREDENTIALS = Struct("3i")


class Connections:
    """All connections of one daemon, over whatever transport."""

    def __init__(self, services: Services, lanes: Lanes | None = None, limits: Limits | None = None) -> None:
        self.services = services
        self.lanes = lanes or Lanes()
        self.limits = limits or Limits()
        self._servers: list[asyncio.Server] = []
        self._open: set[ServerConnection] = set()
        self._changed = asyncio.Event()

    async def serve(
        self, listener: socket.socket, protocol: Callable[[Connections], asyncio.Protocol]
    ) -> None:
        """Take connections from a listening socket, which is ours from now on."""
        loop = asyncio.get_running_loop()
        family = loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server
        server = await family(lambda: protocol(self), sock=listener, backlog=1024)
        self._servers.append(server)

    def add(self, connection: ServerConnection) -> None:
        """A connection is there."""
        self._open.add(connection)

    def remove(self, connection: ServerConnection) -> None:
        """A connection is gone."""
        self._open.discard(connection)
        if not self._open:
            self._changed.set()

    async def stop(self, grace_s: float) -> None:
        """End everything: calls that are in progress have so many seconds, then they are told Unavailable."""
        for server in self._servers:
            server.close()
        for connection in list(self._open):
            connection.stop()
        await self._all_gone(grace_s)
        for connection in list(self._open):
            connection.refuse_all("the daemon is stopping")
        await self._all_gone(1.0)
        self.lanes.close()

    async def _all_gone(self, timeout_s: float) -> None:
        if not self._open:
            return
        self._changed.clear()
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return


def peer_of(transport: asyncio.BaseTransport) -> Peer | None:
    """Who has connected; None over TCP."""
    connected = transport.get_extra_info("socket")
    if connected is None or connected.family != socket.AF_UNIX:
        return None
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Peer(*_CREDENTIALS.unpack(raw))
