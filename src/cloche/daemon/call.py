"""One call as its handler sees it, over gRPC and ttrpc alike.

A handler is a method of a service's implementation:

    def version(self, call, request): return VersionResponse(...)          # microseconds, on the loop
    async def create(self, call, request): return await call.run(...)      # anything longer
    def read(self, call, request): return (ReadContentResponse(...),)      # few answers, all there already
    async def subscribe(self, call, request): yield Envelope(...)          # many answers
    async def write(self, call): async for request in call: await call.send(...)

An error it raises becomes the call's status. When the client goes away or its deadline passes, the
handler is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from abc import ABC, abstractmethod
from collections import deque
from time import monotonic

from cloche.errors import Cancelled, DeadlineExceeded, FailedPrecondition, InvalidArgument, Unavailable
from cloche.wire.protobuf import Message
from cloche.wire.status import is_foreseen, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from typing import Any, TypeVar

    from cloche.daemon.lanes import Lanes
    from cloche.daemon.services import Route
    from cloche.wire.ttrpc import Status

    _R = TypeVar("_R")

_log = logging.getLogger("cloche.daemon")

NAMESPACE_HEADERS = ("containerd-namespace", "containerd-namespace-ttrpc")


class Peer:
    """Who is at the other end of a unix socket, as the kernel says."""

    __slots__ = ("gid", "pid", "uid")

    def __init__(self, pid: int, uid: int, gid: int) -> None:
        self.pid = pid
        self.uid = uid
        self.gid = gid


class Call(ABC):
    """A call in progress.

    metadata: names in lower case with their values. deadline: by time.monotonic; None for none.
    peer: None over TCP. response_metadata, trailers: the handler may add to them, to the first
    before it sends anything.
    """

    __slots__ = (
        "_cancelled",
        "_drain",
        "_ended",
        "_inbox",
        "_reader",
        "_task",
        "_timer",
        "_work",
        "deadline",
        "lanes",
        "metadata",
        "over",
        "peer",
        "response_metadata",
        "route",
        "trailers",
    )

    def __init__(self, route: Route, metadata: dict[str, list[str]], peer: Peer | None, lanes: Lanes) -> None:
        self.route = route
        self.metadata = metadata
        self.peer = peer
        self.lanes = lanes
        self.deadline: float | None = None
        self.over = False
        self.response_metadata: dict[str, list[str]] = {}
        self.trailers: dict[str, list[str]] = {}
        self._inbox: deque[bytes] = deque()
        self._ended = False
        self._reader: asyncio.Future[None] | None = None
        self._drain: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._work: Coroutine[Any, Any, Message | None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._cancelled: threading.Event | None = None

    # For handlers

    def header(self, name: str) -> str:
        """The first value of a piece of metadata; "" where it is absent."""
        values = self.metadata.get(name)
        return values[0] if values else ""

    @property
    def namespace(self) -> str:
        """The namespace that the client is in. Raises FailedPrecondition where it does not say."""
        for name in NAMESPACE_HEADERS:
            if values := self.metadata.get(name):
                return values[0]
        raise FailedPrecondition("namespace is required")

    @property
    def cancelled(self) -> threading.Event:
        """Set once nobody waits for the answer: for functions that run in threads to look at."""
        if self._cancelled is None:
            self._cancelled = threading.Event()
            if self.over:
                self._cancelled.set()
        return self._cancelled

    def remaining(self) -> float | None:
        """Seconds until the deadline, never less than 0; None for no deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - monotonic())

    async def run(
        self, function: Callable[..., _R], *arguments: Any, lane: object = None, pool: str = "general"
    ) -> _R:
        """Run what blocks in a thread.

        lane: what is written, such as a container's id with its namespace: one at a time of each.
        pool: "general", or "pulls" for what may take minutes.
        """
        return await self.lanes.run_in(pool, lane, lambda: function(*arguments))

    async def receive(self) -> Any:
        """The next request of a client that streams; None after the last one."""
        while not self._inbox:
            if self._ended:
                return None
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        data = self._inbox.popleft()
        self._taken(len(data), empty=not self._inbox)
        return self.route.method.request.decode(data)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (request := await self.receive()) is not None:
            yield request

    async def send(self, message: Message) -> None:
        """Send a response of a stream; waits while the client takes no more."""
        if self.over:
            raise Cancelled("the client has gone")
        self._write(message.encode())
        while self._congested():
            self._drain = asyncio.get_running_loop().create_future()
            await self._drain

    # For the transport

    @abstractmethod
    def _write(self, data: bytes) -> None:
        """Send one message."""

    @abstractmethod
    def _check_size(self, data: bytes) -> None:
        """Raise ResourceExhausted for a message that is too long to be sent."""

    @abstractmethod
    def _congested(self) -> bool:
        """Whether the client has to read before more is sent; no call that is over has to wait."""

    @abstractmethod
    def _taken(self, size: int, *, empty: bool) -> None:
        """The handler took a message of so many bytes. empty: no other waits."""

    @abstractmethod
    def _finish(self, data: bytes | None, failed: Status | None) -> None:
        """Send the response of a call with one, and the end of the call."""

    def begin(self, timeout_s: float | None) -> None:
        """The call has come; its requests follow. timeout_s: how long it may take."""
        if timeout_s is not None:
            self.deadline = monotonic() + timeout_s
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(timeout_s, self._give_up, DeadlineExceeded("deadline exceeded"))
        if self.route.method.client_streaming:
            self._start()

    def deliver(self, data: bytes) -> None:
        """A request has come."""
        if self.over:
            return
        if self._inbox and not self.route.method.client_streaming:
            self._give_up(InvalidArgument("more than one request in a call that takes one"))
            return
        self._inbox.append(data)
        self._wake()

    def end_of_requests(self) -> None:
        """The client has said everything."""
        if self.over or self._ended:
            return
        self._ended = True
        if self.route.method.client_streaming:
            self._wake()
            return
        if not self._inbox:
            self._give_up(InvalidArgument("a call without a request"))
            return
        try:
            request = self.route.method.request.decode(self._inbox.popleft())
        except ValueError as error:
            self._give_up(error)
            return
        self._start(request)

    def writable(self) -> None:
        """The client has taken what waited."""
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)

    def abandon(self) -> None:
        """Nobody waits for the answer any more: the handler is cancelled."""
        if not self.over:
            self._close()
            self._stop()

    def refuse(self, reason: str) -> None:
        """The daemon stops: the client is told to come back."""
        self._give_up(Unavailable(reason))

    def fail(self, error: Exception) -> None:
        """What the client sent makes no sense: it is told, and the handler is cancelled."""
        self._give_up(error)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _start(self, *arguments: Message) -> None:
        try:
            result = self.route.handler(self, *arguments)
        except Exception as error:
            self._answer_error(error)
            return
        if isinstance(result, Message):
            self._answer(result)
        elif isinstance(result, tuple):
            self._answer_all(result)
        elif hasattr(result, "__anext__"):
            self._spawn(self._send_all(result))
        else:
            self._work = result
            self._spawn(self._await(result))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        loop = asyncio.get_running_loop()
        if sys.version_info >= (3, 12):
            # What ends without waiting for anything does so without a turn of the loop.
            self._task = asyncio.Task(work, loop=loop, eager_start=True)
        else:
            self._task = loop.create_task(work)

    async def _await(self, work: Coroutine[Any, Any, Message | None]) -> None:
        try:
            result = await work
        except asyncio.CancelledError:
            self._answer_error(Cancelled("the call was cancelled"))
        except Exception as error:
            self._answer_error(error)
        else:
            self._answer(result)

    async def _send_all(self, responses: AsyncIterator[Message]) -> None:
        try:
            async for response in responses:
                await self.send(response)
        except asyncio.CancelledError:
            self._answer_error(Cancelled("the call was cancelled"))
        except Exception as error:
            self._answer_error(error)
        else:
            self._answer(None)
        finally:
            await responses.aclose()  # type: ignore[attr-defined]  # a generator, which cleans up here

    def _answer(self, result: Message | None) -> None:
        if self.over:
            return
        data = None
        if result is not None and not self.route.method.server_streaming:
            try:
                data = result.encode()
                self._check_size(data)
            except Exception as error:
                self._answer_error(error)
                return
        self._close()
        self._finish(data, None)

    def _answer_all(self, responses: tuple[Message, ...]) -> None:
        try:
            for response in responses:
                self._write(response.encode())
        except Exception as error:
            self._answer_error(error)
            return
        self._answer(None)

    def _answer_error(self, error: BaseException) -> None:
        if not is_foreseen(error) and not isinstance(error, asyncio.CancelledError):
            name = f"{self.route.service.full_name}/{self.route.method.name}"
            _log.error("%s failed", name, exc_info=error)
        if not self.over:
            self._close()
            self._finish(None, status_of(error))

    def _give_up(self, error: Exception) -> None:
        if not self.over:
            self._close()
            self._finish(None, status_of(error))
            self._stop()

    def _close(self) -> None:
        self.over = True
        self._inbox.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _stop(self) -> None:
        """Cancel the handler."""
        if self._cancelled is not None:
            self._cancelled.set()
        if self._task is not None:
            self._task.cancel()
            work = self._work
            if work is not None:
                # A task that is cancelled before its first step never comes to await this.
                self._task.add_done_callback(lambda _: work.close())
