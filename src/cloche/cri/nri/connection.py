"""A plugin's connection: our calls to it and its calls to us, both in one stream of bytes."""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from cloche.engine.tasks.channel import TtrpcChannel
from cloche.engine.tasks.reading import Reading
from cloche.errors import ResourceExhausted, Unimplemented
from cloche.wire import nri_mux, ttrpc
from cloche.wire.protobuf import DecodeError
from cloche.wire.services.nri import RUNTIME
from cloche.wire.status import is_foreseen, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cloche.wire.protobuf import Message
    from cloche.wire.ttrpc import Frame

    Answer = Callable[[str, Message], Awaitable[Message]]

_log = logging.getLogger("cloche.nri")

_CALLS_AT_ONCE = 64


class Connection(Reading):
    """One connection. channel: where it is called. answer: carries out what it asks, by the call's name.

    on_lost: called once when it has gone.
    """

    def __init__(self, answer: Answer) -> None:
        self.channel = TtrpcChannel()
        self.on_lost: Callable[[], None] = _nothing
        self._answer = answer
        self._mux = nri_mux.Decoder()
        self._calls = ttrpc.Decoder()
        self._answering: set[asyncio.Task[None]] = set()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: it is there."""
        self._transport = cast("asyncio.Transport", transport)
        self.channel.connection_made(_Inside(self, nri_mux.PLUGIN))

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the plugin has gone."""
        self._transport = None
        self.channel.connection_lost(exc)
        for each in self._answering:
            each.cancel()
        self.on_lost()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        try:
            for connection, payload in self._mux.feed(data):
                if connection == nri_mux.PLUGIN:
                    self.channel.data_received(payload)
                elif connection == nri_mux.RUNTIME:
                    self._serve(payload)
        except (nri_mux.ProtocolError, ttrpc.ProtocolError) as error:
            _log.debug("a plugin speaks something else: %s", error)
            self.close()

    def send(self, connection: int, frame: bytes) -> None:
        """Send a frame of ttrpc."""
        if self._transport is not None:
            self._transport.write(nri_mux.encode(connection, frame))

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def _serve(self, data: bytes) -> None:
        for frame in self._calls.feed(data):
            if frame.kind == ttrpc.REQUEST:
                task = asyncio.ensure_future(self._respond(frame))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)

    async def _respond(self, frame: Frame) -> None:
        try:
            if len(self._answering) > _CALLS_AT_ONCE:
                raise ResourceExhausted("too many calls at once")
            name, request = _read(frame)
            response = ttrpc.Response(payload=(await self._answer(name, request)).encode())
        except Exception as error:
            if not is_foreseen(error):
                _log.exception("a plugin's call failed")
            response = ttrpc.Response(status=status_of(error))
        self.send(nri_mux.RUNTIME, ttrpc.encode(frame.stream, ttrpc.RESPONSE, response.encode()))


class _Inside(asyncio.Transport):
    """One of the connections inside, as the protocol that lives on it sees it."""

    def __init__(self, outer: Connection, number: int) -> None:
        super().__init__()
        self._outer = outer
        self._number = number

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """asyncio: each is one frame of ttrpc."""
        self._outer.send(self._number, bytes(data))

    def close(self) -> None:
        """asyncio: there is no way to close the one without the other."""
        self._outer.close()


def _read(frame: Frame) -> tuple[str, Message]:
    request = ttrpc.Request.decode(frame.payload)
    method = RUNTIME.methods.get(request.method)
    if request.service != RUNTIME.full_name or method is None:
        raise Unimplemented(f"{request.service[:200]}/{request.method[:200]}: nothing of NRI's")
    try:
        return method.name, method.request.decode(request.payload)
    except DecodeError as error:
        raise DecodeError(f"{method.name}: {error}") from None


def _nothing() -> None:
    """Nobody minds."""
