"""Streams: channels by name, that a transfer uses for bytes, progress and credentials."""

from __future__ import annotations

import asyncio
from collections import deque

from cloche.errors import AlreadyExists, Cancelled, InvalidArgument, NotFound
from cloche.wire.messages.google import Any, Empty
from cloche.wire.messages.streaming import STREAMING, StreamInit
from cloche.wire.messages.transfer import Data, WindowUpdate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.api.call import Call
    from cloche.wire.protobuf import Message

_WINDOW_BYTES = 4 << 20
_CHUNK_BYTES = 32 << 10  # what containerd's clients send and take at once


class Stream:
    """One open channel; both sides send messages in Any."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._over = asyncio.Event()

    async def send(self, message: Message) -> None:
        """Send a message. Raises Cancelled when the client has gone."""
        await self._call.send(Any.pack(message))

    async def receive(self) -> Any | None:
        """The client's next message; None after its last."""
        received: Any | None = await self._call.receive()
        return received

    async def until_closed(self) -> None:
        """Wait for `close`."""
        await self._over.wait()

    def close(self) -> None:
        """End the channel."""
        self._over.set()


class Streaming:
    """The service (containerd.services.streaming.v1)."""

    SERVICE = STREAMING

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], Stream] = {}

    async def stream(self, call: Call) -> None:
        """A client opens a channel, and says its name first."""
        first: Any | None = await call.receive()
        if first is None or first.type_name != StreamInit.FULL_NAME:
            raise InvalidArgument("a stream begins with its name, in a StreamInit")
        key = (call.namespace, StreamInit.decode(first.value).id)
        if key in self._streams:
            raise AlreadyExists(f"stream {key[1]!r}: already exists")
        stream = self._streams[key] = Stream(call)
        try:
            await stream.send(Empty())
            await stream.until_closed()
        finally:
            del self._streams[key]

    def get(self, namespace: str, name: str) -> Stream:
        """A channel that a client has opened. Raises NotFound."""
        found = self._streams.get((namespace, name))
        if found is None:
            raise NotFound(f"stream {name!r}: not found")
        return found


class Incoming:
    """The bytes of a stream, for a thread to read from: `pump` runs in the event loop beside it."""

    def __init__(self, stream: Stream) -> None:
        from threading import Condition

        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._chunks: deque[bytes] = deque()
        self._changed = Condition()
        self._over = False
        self._failed = False
        self._granted = asyncio.Event()
        self._window = 0
        self._taken = 0

    async def pump(self) -> None:
        """Receive until the client has sent everything."""
        granting = asyncio.ensure_future(self._grant())
        try:
            while (packed := await self._stream.receive()) is not None:
                if packed.type_name == Data.FULL_NAME:
                    self._put(Data.decode(packed.value).data)
        except BaseException:
            self._failed = True
            raise
        finally:
            granting.cancel()
            self._put(b"")
            self._stream.close()

    def _put(self, data: bytes) -> None:
        with self._changed:
            if data:
                self._chunks.append(data)
            else:
                self._over = True
            self._changed.notify()

    async def _grant(self) -> None:
        """Let the client send as much as the thread has read, so that no more than a window is held."""
        await self._stream.send(WindowUpdate(update=_WINDOW_BYTES))
        while True:
            await self._granted.wait()
            self._granted.clear()
            taken, self._taken = self._taken, 0
            if taken:
                await self._stream.send(WindowUpdate(update=taken))

    def _note_taken(self, size: int) -> None:
        self._taken += size
        self._granted.set()

    def read(self, size: int = -1, /) -> bytes:
        """Up to so many bytes; none at the end. In a thread. Raises Cancelled when the client went."""
        with self._changed:
            while not self._chunks and not self._over:
                self._changed.wait()
            if not self._chunks:
                if self._failed:
                    raise Cancelled("the client has gone before it sent everything")
                return b""
            data = self._chunks.popleft()
            if 0 <= size < len(data):
                self._chunks.appendleft(data[size:])
                data = data[:size]
            self._window += len(data)
            if self._window >= _WINDOW_BYTES // 4:
                self._loop.call_soon_threadsafe(self._note_taken, self._window)
                self._window = 0
        return data


class Outgoing:
    """Bytes that a thread writes, for the client of a stream: `pump` hands on its permissions."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._allowed = 0
        self._more = asyncio.Event()
        self._gone = False

    async def pump(self) -> None:
        """Receive how much the client takes, until it goes."""
        try:
            while (packed := await self._stream.receive()) is not None:
                if packed.type_name == WindowUpdate.FULL_NAME:
                    self._allowed += WindowUpdate.decode(packed.value).update
                    self._more.set()
        finally:
            self._gone = True
            self._more.set()

    def write(self, data: bytes) -> None:
        """Send bytes; waits while the client takes no more. In a thread. Raises Cancelled."""
        asyncio.run_coroutine_threadsafe(self._send(data), self._loop).result()

    async def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            while self._allowed <= 0:
                if self._gone:
                    raise Cancelled("the client has gone before it took everything")
                self._more.clear()
                await self._more.wait()
            part = view[: min(_CHUNK_BYTES, self._allowed)]
            self._allowed -= len(part)
            await self._stream.send(Data(data=bytes(part)))
            view = view[len(part) :]
