"""A ttrpc client on asyncio: how the daemon calls shims, never from a thread."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

from cloche.engine.tasks.dialing import Dialing
from cloche.errors import DeadlineExceeded, Unavailable
from cloche.wire import status, ttrpc
from cloche.wire.status import StatusError, error_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Any, Self

    from cloche.wire.protobuf import Message
    from cloche.wire.service import Method, Service
    from cloche.wire.ttrpc import Frame

_NS = 1_000_000_000


class MalformedAnswer(StatusError):
    """What the server answered cannot be read."""


class TtrpcChannel(Dialing):
    """One connection to a server: any number of calls at the same time, from one event loop.

    alive: whether calls can be made on it. on_lost: called once when the server has gone.
    """

    def __init__(self) -> None:
        self.alive = True
        self.on_lost: Callable[[], None] = _nothing
        self._decoder = ttrpc.Decoder()
        self._calls: dict[int, TtrpcClientCall] = {}
        self._next = 1
        self._transport: asyncio.Transport | None = None

    async def unary(
        self,
        service: Service,
        name: str,
        request: Message,
        *,
        metadata: Mapping[str, Sequence[str]] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Make a call with one request and one response. Raises the error that the server answers."""
        call = self._begin(service, name, request.encode(), 0, metadata, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                return await call.receive()
        except TimeoutError:
            raise DeadlineExceeded(f"{service.full_name}/{name}: no answer in time") from None
        finally:
            self._calls.pop(call.number, None)

    def stream(
        self,
        service: Service,
        name: str,
        request: Message | None = None,
        *,
        metadata: Mapping[str, Sequence[str]] | None = None,
    ) -> TtrpcClientCall:
        """Begin a call where one side or both send many. request: where only the server does."""
        flags = ttrpc.REMOTE_OPEN if request is None else ttrpc.REMOTE_CLOSED
        return self._begin(service, name, b"" if request is None else request.encode(), flags, metadata, None)

    def _begin(
        self,
        service: Service,
        name: str,
        payload: bytes,
        flags: int,
        metadata: Mapping[str, Sequence[str]] | None,
        timeout_s: float | None,
    ) -> TtrpcClientCall:
        if not self.alive:
            raise Unavailable("the connection to the server is gone")
        request = ttrpc.Request(service=service.full_name, method=name, payload=payload)
        if timeout_s is not None:
            request.timeout_nano = max(1, int(timeout_s * _NS))
        if metadata:
            request.metadata = [
                ttrpc.KeyValue(key=key, value=value) for key, values in metadata.items() for value in values
            ]
        frame = ttrpc.encode(self._next, ttrpc.REQUEST, request.encode(), flags=flags)
        call = self._calls[self._next] = TtrpcClientCall(self, self._next, service.methods[name])
        self._next += 2
        self.write(frame)
        return call

    def write(self, data: bytes) -> None:
        """Send frames."""
        if self._transport is not None:
            self._transport.write(data)

    def forget(self, number: int) -> None:
        """Nobody waits for a call any more."""
        self._calls.pop(number, None)

    def close(self) -> None:
        """Close the connection; what is in progress ends with Unavailable."""
        self.alive = False
        if self._transport is not None:
            self.hang_up(self._transport)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: we are connected."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the server has gone."""
        self._transport = None
        lost, self.alive = self.alive, False
        for call in list(self._calls.values()):
            call.lose()
        if lost:
            self.on_lost()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        try:
            frames = self._decoder.feed(data)
        except ttrpc.ProtocolError:
            self.close()
            return
        for frame in frames:
            call = self._calls.get(frame.stream)
            if call is not None:
                call.take(frame)


class TtrpcClientCall:
    """One call in progress; leaving its `async with` forgets it, since ttrpc has no way to cancel."""

    def __init__(self, channel: TtrpcChannel, number: int, method: Method) -> None:
        self.number = number
        self._channel = channel
        self._method = method
        self._inbox: deque[Message] = deque()
        self._over = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def send(self, request: Message) -> None:
        """Send one request of a stream."""
        self._channel.write(ttrpc.encode(self.number, ttrpc.DATA, request.encode()))

    def end(self) -> None:
        """There are no more requests."""
        flags = ttrpc.REMOTE_CLOSED | ttrpc.NO_DATA
        self._channel.write(ttrpc.encode(self.number, ttrpc.DATA, flags=flags))

    async def receive(self) -> Any:
        """The next response; None after the last of a stream. Raises the error that the call ended with."""
        while not self._inbox:
            if self._error is not None:
                raise self._error
            if self._over:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._inbox.popleft()

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (response := await self.receive()) is not None:
            yield response

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.forget(self.number)

    def take(self, frame: Frame) -> None:
        """The server has said something."""
        try:
            self._read(frame)
        except ValueError as error:
            self._error = MalformedAnswer(status.INTERNAL, f"the server's answer is malformed: {error}")
        if self._over or self._error is not None:
            self._channel.forget(self.number)
        self._wake()

    def _read(self, frame: Frame) -> None:
        if frame.kind == ttrpc.DATA:
            if not frame.flags & ttrpc.NO_DATA:
                self._inbox.append(self._method.response.decode(frame.payload))
            self._over = bool(frame.flags & ttrpc.REMOTE_CLOSED)
        elif frame.kind == ttrpc.RESPONSE:
            self._over = True
            response = ttrpc.Response.decode(frame.payload)
            if response.status is not None and response.status.code != status.OK:
                self._error = error_of(response.status)
            elif not self._method.server_streaming:
                self._inbox.append(self._method.response.decode(response.payload))

    def lose(self) -> None:
        """Nothing more will come."""
        if not self._over:
            self._over = True
            self._error = Unavailable("the server closed the connection")
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _nothing() -> None:
    """Nobody minds."""
