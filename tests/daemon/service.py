"""A service for the tests of the transports, and a server that runs beside a test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cloche.daemon.call import Call
from cloche.daemon.connections import Connections, ServerProtocol
from cloche.daemon.services import Services
from cloche.daemon.transport import GrpcProtocol
from cloche.daemon.ttrpc_transport import TtrpcProtocol
from cloche.errors import NotFound, ResourceExhausted
from cloche.wire.http2_limits import Limits
from cloche.wire.protobuf import Message, binary, int64, string
from cloche.wire.service import Method, Service


class Note(Message, package="cloche.test"):
    """What every method of the test's service takes and gives."""

    text: str = string(1)
    data: bytes = binary(2)
    number: int = int64(3)


ECHO = Service(
    "cloche.test.Echo",
    Method("Say", Note, Note),
    Method("Slow", Note, Note),
    Method("Big", Note, Note),
    Method("Hang", Note, Note),
    Method("Fail", Note, Note),
    Method("Break", Note, Note),
    Method("Where", Note, Note),
    Method("Missing", Note, Note),
    Method("Count", Note, Note, server_streaming=True),
    Method("Forever", Note, Note, server_streaming=True),
    Method("Wait", Note, Note, lasting=True),
    Method("Sum", Note, Note, client_streaming=True),
    Method("Chat", Note, Note, client_streaming=True, server_streaming=True),
)


class Echo:
    """hanging: how many calls of Hang and Forever are in progress; ended: how many are not any more."""

    SERVICE = ECHO

    def __init__(self) -> None:
        self.hanging = 0
        self.ended = 0
        self.peers: list[int] = []

    def say(self, call: Call, request: Note) -> Note:
        """What was said; on the loop."""
        if call.peer is not None:
            self.peers.append(call.peer.pid)
        return request

    async def slow(self, call: Call, request: Note) -> Note:
        """What was said, from a thread."""
        return await call.run(lambda: request, lane="slow")

    def big(self, call: Call, request: Note) -> Note:
        """As many bytes as the request says."""
        return Note(data=bytes(request.number))

    async def hang(self, call: Call, request: Note) -> Note:
        """Never answers."""
        self.hanging += 1
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.ended += 1
            assert call.cancelled.is_set()
        return request

    async def wait(self, call: Call, request: Note) -> Note:
        """Never answers, and the server knows."""
        return await self.hang(call, request)

    async def fail(self, call: Call, request: Note) -> Note:
        """An error that was foreseen."""
        raise NotFound(request.text)

    def break_(self, call: Call, request: Note) -> Note:
        """Not named after the method, so nobody can call it."""
        raise AssertionError

    async def where(self, call: Call, request: Note) -> Note:
        """The namespace and a header of the call."""
        call.trailers["end"] = ["done"]
        call.response_metadata["start"] = ["begun"]
        return Note(text=f"{call.namespace} {call.header('x-word')}", number=int(call.remaining() or 0))

    async def count(self, call: Call, request: Note) -> AsyncIterator[Note]:
        """As many notes as the request says, each with its data."""
        for number in range(request.number):
            yield Note(number=number, data=request.data)

    async def forever(self, call: Call, request: Note) -> AsyncIterator[Note]:
        """Notes until nobody listens."""
        self.hanging += 1
        try:
            while True:
                yield Note(data=bytes(1 << 15))
        finally:
            self.ended += 1

    async def sum(self, call: Call) -> Note:
        """The sum of all numbers, and how many bytes came along."""
        total = size = 0
        async for note in call:
            total += note.number
            size += len(note.data)
            if note.text == "enough":
                raise ResourceExhausted("enough")
        return Note(number=total, text=str(size))

    async def chat(self, call: Call) -> None:
        """An answer to each note, until one says so."""
        async for note in call:
            await call.send(Note(text=note.text.upper(), data=note.data))
            if note.text == "bye":
                return


class Server:
    """Serves over gRPC at `path`, over ttrpc at `ttrpc_path` and over gRPC on a loopback port.

    The loop runs in a thread of the test. add: called with the registry before anything is served.
    """

    def __init__(self, directory: Path, *, limits: Limits | None = None) -> None:
        self.echo = Echo()
        self.services = Services()
        self.services.add(self.echo)
        self.path = str(directory / "s")
        self.ttrpc_path = str(directory / "s.ttrpc")
        self.port = 0
        self.stop_seconds = 0.0
        self._limits = limits
        self._started = threading.Event()
        self._stopping: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._grace_s = 0.1
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        connections = Connections(self.services, limits=self._limits)
        protocols: list[tuple[str, Callable[[Connections], ServerProtocol]]] = [
            (self.path, GrpcProtocol),
            (self.ttrpc_path, TtrpcProtocol),
        ]
        for path, protocol in protocols:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            listener.listen()
            connections.serve(listener, protocol)
        tcp = socket.create_server(("127.0.0.1", 0))
        self.port = tcp.getsockname()[1]
        connections.serve(tcp, GrpcProtocol)
        self._started.set()
        await self._stopping.wait()
        before = time.monotonic()
        await connections.stop(self._grace_s)
        self.stop_seconds = time.monotonic() - before

    def begin_stop(self, grace_s: float = 0.1) -> None:
        """Begin to stop; `__exit__` waits for the end."""
        self._grace_s = grace_s
        with contextlib.suppress(RuntimeError):  # it has stopped already
            self._loop.call_soon_threadsafe(self._stopping.set)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.begin_stop(self._grace_s)
        self._thread.join(30)
        assert not self._thread.is_alive()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end; a test that hangs says so."""

    async def limited() -> Any:
        async with asyncio.timeout(30):
            return await work

    return asyncio.run(limited())
