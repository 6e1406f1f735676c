"""The connections of a server, and how they end: first no new calls, then none at all."""

from __future__ import annotations

import asyncio
import socket
from abc import abstractmethod
from contextlib import suppress
from struct import Struct
from typing import cast

from cloche.daemon.call import Peer
from cloche.daemon.lanes import Lanes
from cloche.engine.tasks.accepting import Acceptor
from cloche.engine.tasks.reading import Reading
from cloche.wire.grpc import MESSAGE_LIMIT
from cloche.wire.http2_limits import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from cloche.daemon.call import Call
    from cloche.daemon.observing import Observer
    from cloche.daemon.services import Services

_CREDENTIALS = Struct("3i")
_WRITE_AHEAD = 1 << 20
_FAREWELL_S = 1.0
_STOPPING = "the daemon is stopping"


class Connections:
    """All connections of one daemon, over whatever transport. observers: who looks on at calls over gRPC.

    receive_limit, send_limit: bytes of a gRPC message.
    """

    def __init__(self, services: Services, lanes: Lanes | None = None, limits: Limits | None = None) -> None:
        self.services = services
        self.lanes = lanes or Lanes()
        self.limits = limits or Limits()
        self.observers: tuple[Observer, ...] = ()
        self.receive_limit = self.send_limit = MESSAGE_LIMIT
        self._acceptors: list[Acceptor] = []
        self._open: set[ServerProtocol] = set()
        self._changed = asyncio.Event()

    def serve(
        self,
        listener: socket.socket,
        protocol: Callable[[Connections], ServerProtocol],
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Take connections from a listening socket, which is ours from now on."""

        def begin(connection: socket.socket) -> ServerProtocol:
            begun = protocol(self)
            if tls is None and (greeting := begun.greeting()):
                with suppress(OSError):  # the client has gone already, as the transport will find
                    connection.send(greeting)
            return begun

        self._acceptors.append(Acceptor(listener, begin, tls))

    def add(self, connection: ServerProtocol) -> None:
        """A connection is there."""
        self._open.add(connection)

    def remove(self, connection: ServerProtocol) -> None:
        """A connection is gone."""
        self._open.discard(connection)
        if not self._open:
            self._changed.set()

    async def stop(self, grace_s: float) -> None:
        """End everything: calls in progress have so many seconds, then they are told Unavailable.

        Those that may last for ever are told so at once.
        """
        await asyncio.gather(*(acceptor.close() for acceptor in self._acceptors))
        for connection in list(self._open):
            connection.stop()
            connection.refuse_lasting(_STOPPING)
        await self._all_gone(grace_s)
        for connection in list(self._open):
            connection.refuse_all(_STOPPING)
        await self._all_gone(_FAREWELL_S)
        for connection in list(self._open):
            connection.abort()
        await self._all_gone(_FAREWELL_S)
        self.lanes.close()

    async def _all_gone(self, timeout_s: float) -> None:
        if not self._open:
            return
        self._changed.clear()
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return


class ServerProtocol(Reading):
    """What the connections of both transports have in common.

    calls: in progress, by stream. paused: the client does not read what we send.
    """

    def __init__(self, owner: Connections) -> None:
        self.owner = owner
        self.services = owner.services
        self.lanes = owner.lanes
        self.calls: Mapping[int, Call] = {}
        self.peer: Peer | None = None
        self.paused = False
        self.transport: asyncio.Transport | None = None

    def greeting(self) -> bytes:
        """What a client is told before it has said anything."""
        return b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: somebody has connected."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_WRITE_AHEAD)
        self.peer = peer_of(transport)
        self.owner.add(self)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the client has gone, and nobody waits for what it asked for."""
        self.transport = None
        self.owner.remove(self)
        for call in list(self.calls.values()):
            call.abandon()
            call.writable()

    def pause_writing(self) -> None:
        """asyncio: the client does not read. What it asks for meanwhile can wait."""
        self.paused = True
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """asyncio: it reads again."""
        self.paused = False
        if self.transport is not None:
            self.transport.resume_reading()
        for call in list(self.calls.values()):
            call.writable()

    @abstractmethod
    def flush(self) -> None:
        """Send what there is for the client."""

    @abstractmethod
    def stop(self) -> None:
        """Take no more calls; those in progress go on, and the connection ends with the last."""

    def abort(self) -> None:
        """Hang up on a client that does not go."""
        if self.transport is not None:
            self.transport.abort()

    def refuse_lasting(self, reason: str) -> None:
        """End the calls that may never end by themselves."""
        for call in list(self.calls.values()):
            if call.route.method.lasting:
                call.refuse(reason)

    @abstractmethod
    def refuse_all(self, reason: str) -> None:
        """End the calls in progress, and the connection."""


def peer_of(transport: asyncio.BaseTransport) -> Peer | None:
    """Who has connected; None over TCP."""
    connected = transport.get_extra_info("socket")
    if connected is None or connected.family != socket.AF_UNIX:
        return None
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Peer(*_CREDENTIALS.unpack(raw))
