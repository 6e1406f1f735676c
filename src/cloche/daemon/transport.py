"""gRPC on a socket: one protocol a connection, one call a stream."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from cloche.daemon.call import Call
from cloche.daemon.connections import ServerProtocol
from cloche.errors import ClocheError, ResourceExhausted, Unimplemented
from cloche.wire import grpc
from cloche.wire.http2 import Connection
from cloche.wire.http2_events import Closed, Data, Headers, Reset, Writable
from cloche.wire.http2_frames import NO_ERROR
from cloche.wire.http2_headers import encode
from cloche.wire.status import CANCELLED, OK, status_of
from cloche.wire.tracing import CURRENT
from cloche.wire.ttrpc import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.daemon.connections import Connections
    from cloche.daemon.services import Route
    from cloche.wire.grpc import Request
    from cloche.wire.http2_events import Event
    from cloche.wire.protobuf import Message

SEND_AHEAD = 256 << 10
"""Bytes of one stream that may wait for its client before its handler does."""
HELD_LIMIT = 128 << 20
"""Bytes of requests that one connection may have us hold."""
_LINGER_S = 1.0


class GrpcCall(Call):
    """A call on a stream of HTTP/2."""

    __slots__ = (
        "_credit",
        "_head_sent",
        "_held",
        "_observations",
        "_protocol",
        "_reader_of_messages",
        "_stream",
    )

    def __init__(self, protocol: GrpcProtocol, stream: int, route: Route, request: Request) -> None:
        super().__init__(route, request.metadata, protocol.peer, protocol.lanes)
        self._protocol = protocol
        self._stream = stream
        limit = protocol.owner.receive_limit
        self._reader_of_messages = grpc.MessageReader(request.encoding, limit=limit)
        self._credit = grpc.Credit()
        self._held = 0
        self._head_sent = False
        observers = protocol.owner.observers
        self._observations = tuple(observer.began(route, request.metadata) for observer in observers)

    def deliver(self, data: bytes) -> None:
        """A request has come."""
        for observation in self._observations:
            observation.received()
        super().deliver(data)

    def abandon(self) -> None:
        """Nobody waits for the answer any more."""
        if not self.over:
            self._observe_end(Status(code=CANCELLED, message="the client has gone"))
        super().abandon()

    def _start(self, *arguments: Message) -> None:
        """What is done for a call that is traced has its span for a parent."""
        traced = next((each.span for each in self._observations if each.span is not None), None)
        if traced is None:
            super()._start(*arguments)
            return
        token = CURRENT.set(traced)
        try:
            super()._start(*arguments)
        finally:
            CURRENT.reset(token)

    def _observe_end(self, failed: Status | None) -> None:
        for observation in self._observations:
            observation.ended(failed.code if failed else OK, failed.message if failed else "")

    def take_data(self, data: bytes, *, end: bool) -> None:
        """Content came on the stream."""
        if self.over:
            return
        reader = self._reader_of_messages
        self._hold(len(data))
        if self._protocol.held > HELD_LIMIT:
            self.fail(ResourceExhausted("too many long requests at once on one connection"))
            return
        try:
            for message in reader.feed(data):
                self.deliver(message)
            if end:
                reader.finish()
        except ClocheError as error:
            self.fail(error)
            return
        if end:
            self.end_of_requests()
        else:
            self._give_back(self._credit.came(len(data), waiting=bool(self._inbox)))

    def _taken(self, size: int, *, empty: bool) -> None:
        self._hold(-min(size, self._held))
        self._give_back(self._credit.took(size, waiting=not empty))
        self._protocol.flush()

    def _hold(self, size: int) -> None:
        self._held += size
        self._protocol.held += size

    def _close(self) -> None:
        self._hold(-self._held)
        super()._close()

    def _give_back(self, size: int) -> None:
        if size:
            self._protocol.connection.consumed(self._stream, size)

    def _write(self, data: bytes) -> None:
        self._check_size(data)
        for observation in self._observations:
            observation.sent()
        connection = self._protocol.connection
        if not self._head_sent:
            self._head_sent = True
            head = grpc.head_block(self.response_metadata) if self.response_metadata else grpc.HEAD
            connection.send_headers(self._stream, head)
        connection.send_data(self._stream, grpc.frame(data))
        self._protocol.flush()

    def _check_size(self, data: bytes) -> None:
        limit = self._protocol.owner.send_limit
        if len(data) > limit:
            raise ResourceExhausted(f"an answer of {len(data)} bytes; at most {limit} are sent")

    def _congested(self) -> bool:
        protocol = self._protocol
        return not self.over and (protocol.paused or protocol.connection.waiting(self._stream) > SEND_AHEAD)

    def _finish(self, data: bytes | None, failed: Status | None) -> None:
        self._observe_end(failed)
        protocol, stream = self._protocol, self._stream
        connection = protocol.connection
        if failed is not None and not self._head_sent:
            connection.send_headers(stream, grpc.trailers_only_block(failed, self.trailers), end=True)
        else:
            if data is not None:
                self._write_last(data)
            elif not self._head_sent:
                connection.send_headers(stream, grpc.HEAD)
            trailers = grpc.OK_TRAILERS
            if failed is not None or self.trailers:
                trailers = grpc.trailers_block(failed or Status(), self.trailers)
            connection.send_headers(stream, trailers, end=True)
        protocol.calls.pop(stream, None)
        protocol.flush()

    def _write_last(self, data: bytes) -> None:
        for observation in self._observations:
            observation.sent()
        connection = self._protocol.connection
        head = grpc.head_block(self.response_metadata) if self.response_metadata else grpc.HEAD
        connection.send_headers(self._stream, head)
        connection.send_data(self._stream, grpc.frame(data))


class GrpcProtocol(ServerProtocol):
    """One connection of a client. calls: in progress, by stream. held: bytes of their requests."""

    calls: dict[int, GrpcCall]

    def __init__(self, owner: Connections) -> None:
        super().__init__(owner)
        self.calls = {}
        self.connection = Connection(limits=owner.limits)
        self._receiving = False
        self._ending = False
        self._strangers: dict[int, int] = {}
        self.held = 0

    def greeting(self) -> bytes:
        """HTTP/2's: clients wait for the settings before they ask for anything."""
        return self.connection.take()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._receiving = True
        try:
            for event in self.connection.receive(data):
                self._handle(event)
        finally:
            self._receiving = False
        self.flush()

    def flush(self) -> None:
        """Send what the connection has for the client."""
        if self._receiving or self.transport is None:
            return
        data = self.connection.take()
        if self._ending:
            return
        if data:
            self.transport.write(data)
        if self.connection.goodbye is not None or (self.connection.stopping and not self.connection.streams):
            self._end(self.transport)

    def _end(self, transport: asyncio.Transport) -> None:
        """Say nothing more, and wait a moment for the client to hang up.

        Were the connection closed while bytes of the client are under way, the kernel would throw away
        what we said last: that the client's requests were not dealt with, or what it did wrong.
        """
        self._ending = True
        if not transport.can_write_eof():  # TLS has no such end
            transport.close()
            return
        try:
            transport.write_eof()
        except OSError:  # the client has gone already
            transport.close()
        else:
            asyncio.get_running_loop().call_later(_LINGER_S, transport.close)

    def stop(self) -> None:
        """Take no more calls; those in progress go on."""
        self.connection.stop()
        self.flush()

    def refuse_all(self, reason: str) -> None:
        """End the calls in progress, and the connection."""
        for call in list(self.calls.values()):
            call.refuse(reason)
        self.connection.close(NO_ERROR, reason)
        self.flush()

    def _handle(self, event: Event) -> None:
        if isinstance(event, Data):
            call = self.calls.get(event.stream)
            if call is not None:
                call.take_data(event.data, end=event.end)
            else:
                self._answer_stranger(event.stream)
        elif isinstance(event, Headers):
            self._on_headers(event)
        elif isinstance(event, Reset):
            self._strangers.pop(event.stream, None)
            call = self.calls.pop(event.stream, None)
            if call is not None:
                call.abandon()
                call.writable()
        elif isinstance(event, Writable):
            call = self.calls.get(event.stream)
            if call is not None:
                call.writable()
        elif isinstance(event, Closed):
            for call in list(self.calls.values()):
                call.abandon()

    def _on_headers(self, event: Headers) -> None:
        stream = event.stream
        call = self.calls.get(stream)
        if call is not None:
            call.take_data(b"", end=event.end)  # trailers of a client: nothing is in them for us
            return
        if not event.head.pseudo:
            self._answer_stranger(stream)
            return  # or trailers of a call that is over
        request = grpc.request_of(event.head)
        if request.http_status != HTTPStatus.OK:
            self._strangers[stream] = request.http_status
            if event.end:
                self._answer_stranger(stream)
            return
        route = self.services.find(request.service, request.method)
        error = request.error
        if route is None:
            error = Unimplemented(self.services.missing(request.service, request.method))
        if error is not None or route is None:
            said = status_of(error or Unimplemented(request.path))
            self.connection.send_headers(stream, grpc.trailers_only_block(said, {}), end=True)
            return
        call = self.calls[stream] = GrpcCall(self, stream, route, request)
        call.begin(request.timeout_s)
        if event.end:
            call.take_data(b"", end=True)

    def _answer_stranger(self, stream: int) -> None:
        """Answer somebody who speaks HTTP/2 to us, but not gRPC.

        Not before some of the request's content is there: curl takes an answer before that for an error.
        """
        code = self._strangers.pop(stream, None)
        if code is None:
            return
        text = b"this is cloched, which speaks gRPC\n"
        fields = [(b":status", b"%d" % code), (b"content-type", b"text/plain")]
        fields.append((b"content-length", b"%d" % len(text)))
        self.connection.send_headers(stream, encode(fields))
        self.connection.send_data(stream, text, end=True)
