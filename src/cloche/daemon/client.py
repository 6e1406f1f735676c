"""A gRPC client on asyncio: for plugins that are servers of their own, and shims that speak gRPC."""

from __future__ import annotations

import asyncio
from typing import cast

from cloche.engine.tasks.dialing import Dialing
from cloche.errors import Cancelled, DeadlineExceeded, Unavailable
from cloche.wire import grpc, status
from cloche.wire.grpc_client import Answer, request_block
from cloche.wire.http2 import Connection
from cloche.wire.http2_events import Closed, Data, GoneAway, Headers, Reset, Writable
from cloche.wire.http2_limits import Limits
from cloche.wire.status import StatusError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType
    from typing import Any, Self

    from cloche.wire.grpc_client import Metadata
    from cloche.wire.http2_events import Event
    from cloche.wire.protobuf import Message
    from cloche.wire.service import Method, Service

_SEND_AHEAD = 256 << 10
_LIMITS = Limits(frame_size=1 << 16)


class Channel(Dialing):
    """One connection to a server: any number of calls at the same time, from one event loop.

    alive: whether new calls can be made on it.
    """

    def __init__(self) -> None:
        self.connection = Connection(client=True, limits=_LIMITS)
        self.alive = True
        self.paused = False
        self._streams: dict[int, ClientCall] = {}
        self._transport: asyncio.Transport | None = None

    async def unary(
        self,
        service: Service,
        name: str,
        request: Message,
        *,
        metadata: Metadata | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Make a call with one request and one response. Raises the error that the server answers."""
        async with self.call(service, name, metadata=metadata, timeout_s=timeout_s) as call:
            await call.send(request)
            call.end()
            response = await call.receive()
            if response is None or await call.receive() is not None:
                raise StatusError(status.INTERNAL, f"{call.path}: not exactly one response")
            return response

    def call(
        self, service: Service, name: str, *, metadata: Metadata | None = None, timeout_s: float | None = None
    ) -> ClientCall:
        """Begin a call of any kind; leaving its `async with` cancels what is left of it."""
        if not self.alive:
            raise Unavailable("the connection to the server is gone")
        path = f"/{service.full_name}/{name}"
        number = self.connection.open()
        call = ClientCall(self, number, path, service.methods[name])
        self._streams[number] = call
        self.connection.send_headers(number, request_block(path, metadata, timeout_s))
        call.start(timeout_s)
        self.flush()
        return call

    def close(self) -> None:
        """Close the connection; what is in progress ends with Unavailable."""
        self.alive = False
        if self._transport is not None:
            self.connection.close()
            self.flush()
            self.hang_up(self._transport)

    def forget(self, number: int) -> None:
        """A call is over."""
        self._streams.pop(number, None)

    def flush(self) -> None:
        """Send what there is."""
        if self._transport is not None:
            data = self.connection.take()
            if data:
                self._transport.write(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: we are connected."""
        self._transport = cast("asyncio.Transport", transport)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the server has gone."""
        self._transport = None
        self.alive = False
        for call in list(self._streams.values()):
            call.lose("the server closed the connection")

    def pause_writing(self) -> None:
        """asyncio: the server does not read."""
        self.paused = True

    def resume_writing(self) -> None:
        """asyncio: it reads again."""
        self.paused = False
        for call in list(self._streams.values()):
            call.wake()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        for event in self.connection.receive(data):
            self._handle(event)
        self.flush()
        if self.connection.goodbye is not None and self._transport is not None:
            self.hang_up(self._transport)

    def _handle(self, event: Event) -> None:
        if isinstance(event, Headers | Data | Reset):
            call = self._streams.get(event.stream)
            if call is not None:
                call.take(event)
        elif isinstance(event, Writable):
            call = self._streams.get(event.stream)
            if call is not None:
                call.wake()
        elif isinstance(event, GoneAway):
            self.alive = False
            for number, call in list(self._streams.items()):
                if number > event.last:
                    call.lose(f"the server takes no more calls: {event.reason}")
        elif isinstance(event, Closed):
            for call in list(self._streams.values()):
                call.lose(f"the server does not speak HTTP/2 as we do: {event.reason}")


class ClientCall:
    """One call in progress. answer: what the server has said so far. path: /SERVICE/METHOD."""

    def __init__(self, channel: Channel, number: int, path: str, method: Method) -> None:
        self.path = path
        self.answer = Answer()
        self._channel = channel
        self._number = number
        self._method = method
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._error: Exception | None = None
        self._credit = grpc.Credit()

    def start(self, timeout_s: float | None) -> None:
        """Begin to count the time that the call may take."""
        if timeout_s is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(timeout_s, self._expire)

    async def send(self, request: Message) -> None:
        """Send a request; waits while the server takes no more. Nothing happens after the server's end."""
        connection = self._channel.connection
        connection.send_data(self._number, grpc.frame(request.encode()))
        self._channel.flush()
        while not self._over and (self._channel.paused or connection.waiting(self._number) > _SEND_AHEAD):
            await self._wait()

    def end(self) -> None:
        """There are no more requests."""
        self._channel.connection.send_data(self._number, b"", end=True)
        self._channel.flush()

    async def receive(self) -> Any:
        """The next response; None after the last. Raises the error that the call ended with."""
        while not self.answer.messages:
            if self._error is not None:
                raise self._error
            if self.answer.status is not None:
                error = self.answer.error()
                if error is not None:
                    raise error
                return None
            await self._wait()
        data = self.answer.messages.pop(0)
        self._give_back(self._credit.took(len(data), waiting=bool(self.answer.messages)))
        self._channel.flush()
        return self._method.response.decode(data)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (response := await self.receive()) is not None:
            yield response

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Stop waiting: the server is told, unless the call is over."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._over:
            self._fail(Cancelled("the call was cancelled"))
        elif self._number in self._channel.connection.streams:
            self._channel.connection.reset(self._number)
            self._channel.flush()
        self._channel.forget(self._number)

    def take(self, event: Headers | Data | Reset) -> None:
        """The server has said something."""
        self.answer.take(event)
        if isinstance(event, Data):
            self._give_back(self._credit.came(len(event.data), waiting=bool(self.answer.messages)))
        self.wake()

    def lose(self, reason: str) -> None:
        """Nothing more will come."""
        self.answer.lose(reason)
        self.wake()

    def wake(self) -> None:
        """Something has changed that somebody may wait for."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _give_back(self, size: int) -> None:
        if size:
            self._channel.connection.consumed(self._number, size)

    @property
    def _over(self) -> bool:
        return self._error is not None or self.answer.status is not None

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _expire(self) -> None:
        if not self._over:
            self._fail(DeadlineExceeded(f"{self.path}: no answer in time"))

    def _fail(self, error: Exception) -> None:
        self._error = error
        self._channel.connection.reset(self._number)
        self._channel.flush()
        self.wake()
