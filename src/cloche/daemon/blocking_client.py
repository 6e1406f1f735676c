"""A gRPC client that blocks: for commands, which make one call after the other, and for threads.

No event loop: the connection is read while somebody waits for something.
"""

from __future__ import annotations

import _socket
from select import POLLIN, POLLOUT, poll
from time import monotonic

from cloche.errors import DeadlineExceeded, Unavailable
from cloche.wire import grpc, status
from cloche.wire.grpc_client import Answer, request_block
from cloche.wire.http2 import Connection
from cloche.wire.http2_events import Closed, Data, GoneAway, Headers, Reset
from cloche.wire.http2_limits import Limits
from cloche.wire.status import StatusError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Any, Self

    from cloche.wire.grpc_client import Metadata
    from cloche.wire.http2_events import Event
    from cloche.wire.protobuf import Message
    from cloche.wire.service import Method, Service

_SEND_AHEAD = 256 << 10
_READ_SIZE = 256 << 10
_FAREWELL_S = 1.0
_LIMITS = Limits(frame_size=1 << 16)


class BlockingChannel:
    """One connection to a server, for one thread at a time; calls may overlap.

    path: the server's unix socket. timeout_s: for connecting. Raises Unavailable where nobody answers.
    """

    def __init__(self, path: str, *, timeout_s: float = 10) -> None:
        self.connection = Connection(client=True, limits=_LIMITS)
        self._calls: dict[int, BlockingCall] = {}
        self._unsent = bytearray()
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise Unavailable(f"{path}: {error.strerror or error}") from None
        self._socket.setblocking(False)

    def unary(
        self,
        service: Service,
        name: str,
        request: Message,
        *,
        metadata: Metadata | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Make a call with one request and one response. Raises the error that the server answers."""
        with self.call(service, name, metadata=metadata, timeout_s=timeout_s) as call:
            call.send(request, end=True)
            response = call.receive()
            if response is None or call.receive() is not None:
                raise StatusError(status.INTERNAL, f"{call.path}: not exactly one response")
            return response

    def call(
        self, service: Service, name: str, *, metadata: Metadata | None = None, timeout_s: float | None = None
    ) -> BlockingCall:
        """Begin a call of any kind; leaving its `with` cancels what is left of it."""
        if self.connection.goodbye is not None:
            raise Unavailable("the connection to the server is gone")
        path = f"/{service.full_name}/{name}"
        number = self.connection.open()
        call = self._calls[number] = BlockingCall(self, number, path, service.methods[name], timeout_s)
        self.connection.send_headers(number, request_block(path, metadata, timeout_s))
        return call

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def forget(self, number: int) -> None:
        """A call is over."""
        self._calls.pop(number, None)

    def exchange(self, deadline: float | None, *, wait: bool) -> None:
        """Send what there is, taking in what comes meanwhile, since the server may not read before we do.

        deadline: by time.monotonic. wait: until something has come. Raises TimeoutError.
        """
        while self.connection.goodbye is None:
            self._unsent += self.connection.take()
            if not self._unsent and not wait:
                return
            ready = self._poll(deadline)
            if ready & POLLOUT:
                self._send()
            if ready & ~POLLOUT:
                self._receive()
                wait = False

    def _poll(self, deadline: float | None) -> int:
        left_ms = None
        if deadline is not None:
            left_ms = (deadline - monotonic()) * 1000
            if left_ms <= 0:
                raise TimeoutError
        poller = poll()
        poller.register(self._socket, POLLIN | POLLOUT if self._unsent else POLLIN)
        ready = poller.poll(left_ms)
        if not ready:
            raise TimeoutError
        return ready[0][1]

    def _send(self) -> None:
        try:
            del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(f"the server closed the connection: {error.strerror}")

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose("the server closed the connection")
        for event in self.connection.receive(data):
            self._handle(event)

    def _handle(self, event: Event) -> None:
        if isinstance(event, Headers | Data | Reset):
            call = self._calls.get(event.stream)
            if call is not None:
                call.take(event)
        elif isinstance(event, GoneAway):
            for number, call in list(self._calls.items()):
                if number > event.last:
                    call.answer.lose(f"the server takes no more calls: {event.reason}")
        elif isinstance(event, Closed):
            self._lose(f"the server does not speak HTTP/2 as we do: {event.reason}")

    def _lose(self, reason: str) -> None:
        self.connection.close(reason=reason)
        for call in list(self._calls.values()):
            call.answer.lose(reason)


class BlockingCall:
    """One call in progress. answer: what the server has said so far. path: /SERVICE/METHOD."""

    def __init__(
        self, channel: BlockingChannel, number: int, path: str, method: Method, timeout_s: float | None
    ) -> None:
        self.path = path
        self.answer = Answer()
        self._channel = channel
        self._number = number
        self._method = method
        self._deadline = None if timeout_s is None else monotonic() + timeout_s
        self._credit = grpc.Credit()

    def send(self, request: Message, *, end: bool = False) -> None:
        """Send a request; waits while the server takes no more. end: it is the last one."""
        connection = self._channel.connection
        connection.send_data(self._number, grpc.frame(request.encode()), end=end)
        while self.answer.status is None and connection.waiting(self._number) > _SEND_AHEAD:
            self._exchange(wait=True)
        if not end:
            self._exchange(wait=False)

    def end(self) -> None:
        """There are no more requests."""
        self._channel.connection.send_data(self._number, b"", end=True)

    def receive(self) -> Any:
        """The next response; None after the last. Raises the error that the call ended with."""
        while not self.answer.messages:
            if self.answer.status is not None:
                error = self.answer.error()
                if error is not None:
                    raise error
                return None
            self._exchange(wait=True)
        data = self.answer.messages.pop(0)
        self._give_back(self._credit.took(len(data), waiting=bool(self.answer.messages)))
        return self._method.response.decode(data)

    def __iter__(self) -> Iterator[Any]:
        while (response := self.receive()) is not None:
            yield response

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Stop waiting: the server is told, unless the call is over, or it does not read."""
        connection = self._channel.connection
        self._channel.forget(self._number)
        if self._number in connection.streams:
            connection.reset(self._number)
            try:
                self._channel.exchange(monotonic() + _FAREWELL_S, wait=False)
            except TimeoutError:
                pass

    def take(self, event: Headers | Data | Reset) -> None:
        """The server has said something."""
        self.answer.take(event)
        if isinstance(event, Data):
            self._give_back(self._credit.came(len(event.data), waiting=bool(self.answer.messages)))

    def _give_back(self, size: int) -> None:
        if size:
            self._channel.connection.consumed(self._number, size)

    def _exchange(self, *, wait: bool) -> None:
        try:
            self._channel.exchange(self._deadline, wait=wait)
        except TimeoutError:
            self.cancel()
            raise DeadlineExceeded(f"{self.path}: no answer in time") from None
