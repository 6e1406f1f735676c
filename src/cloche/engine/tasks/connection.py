"""A ttrpc connection to a shim, on the event loop: ten thousand waits hold no thread."""

from __future__ import annotations

import asyncio
from typing import cast

from cloche.errors import DeadlineExceeded, Unavailable
from cloche.wire import ttrpc
from cloche.wire.status import error_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from cloche.wire.protobuf import Message

    _M = TypeVar("_M", bound=Message)


class Connection(asyncio.Protocol):
    """One connection, with any number of calls under way.

    on_close: called once it is lost, however that came to be.
    """

    def __init__(self) -> None:
        self._decoder = ttrpc.Decoder()
        self._transport: asyncio.Transport | None = None
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._next = 1
        self.on_close: Callable[[], None] = _nothing

    @classmethod
    async def open(cls, path: str) -> Connection:
        """Connect to a unix socket. Raises Unavailable where nobody answers."""
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_unix_connection(cls, path)
        except OSError as error:
            raise Unavailable(f"the shim at {path} cannot be reached: {error.strerror}") from None
        return connection

    async def call(
        self,
        service: str,
        method: str,
        request: Message,
        response: type[_M],
        *,
        namespace: str = "",
        timeout_s: float | None = None,
    ) -> _M:
        """Make a call and await its answer.

        Raises the error that the shim told, Unavailable when the connection is lost before,
        DeadlineExceeded.
        """
        if self._transport is None or self._transport.is_closing():
            raise Unavailable("the shim is gone")
        stream, self._next = self._next, self._next + 2
        future = self._calls[stream] = asyncio.get_running_loop().create_future()
        self._transport.write(self._encoded(stream, service, method, request, namespace, timeout_s))
        try:
            data = await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            raise DeadlineExceeded(f"the shim did not answer {method} within {timeout_s} s") from None
        finally:
            self._calls.pop(stream, None)
        return response.decode(data)

    @staticmethod
    def _encoded(
        stream: int, service: str, method: str, request: Message, namespace: str, timeout_s: float | None
    ) -> bytes:
        header = [ttrpc.KeyValue(key="containerd-namespace-ttrpc", value=namespace)] if namespace else []
        packed = ttrpc.Request(
            service=service,
            method=method,
            payload=request.encode(),
            timeout_nano=int((timeout_s or 0) * 1e9),
            metadata=header,
        )
        return ttrpc.encode(stream, ttrpc.REQUEST, packed.encode(), flags=ttrpc.REMOTE_CLOSED)

    def close(self) -> None:
        """End the connection; calls that wait are told Unavailable."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: it is there."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes have come."""
        try:
            frames = self._decoder.feed(data)
        except ValueError:
            self.close()
            return
        for frame in frames:
            future = self._calls.pop(frame.stream, None)
            if future is not None and not future.done() and frame.kind == ttrpc.RESPONSE:
                self._answer(future, frame.payload)

    @staticmethod
    def _answer(future: asyncio.Future[bytes], payload: bytes) -> None:
        try:
            answer = ttrpc.Response.decode(payload)
        except ValueError as error:
            future.set_exception(Unavailable(f"the shim's answer makes no sense: {error}"))
            return
        if answer.status is not None and answer.status.code:
            future.set_exception(error_of(answer.status))
        else:
            future.set_result(answer.payload)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: it is gone."""
        self._transport = None
        calls, self._calls = self._calls, {}
        for future in calls.values():
            if not future.done():
                future.set_exception(Unavailable("the shim is gone"))
        self.on_close()


def _nothing() -> None:
    """Nobody minds."""
