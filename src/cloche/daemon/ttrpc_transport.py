"""ttrpc on a socket: the same services as over gRPC, for shims and whoever else speaks it.

A call is a REQUEST and a RESPONSE; where one side streams, its messages are DATA frames, and the
side that is done sets REMOTE_CLOSED. A client that does not wait any more closes the connection.
"""

from __future__ import annotations

from cloche.daemon.call import Call
from cloche.daemon.connections import ServerProtocol
from cloche.errors import InvalidArgument, ResourceExhausted, Unimplemented
from cloche.wire import ttrpc
from cloche.wire.protobuf import DecodeError
from cloche.wire.status import status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.daemon.connections import Connections
    from cloche.daemon.services import Route
    from cloche.wire.ttrpc import Frame, Request, Status

HELD_LIMIT = 8 << 20
"""Bytes of requests that wait for their handlers before we stop reading: ttrpc has no windows."""

_NS = 1e9


class TtrpcCall(Call):
    """A call on a stream of ttrpc."""

    __slots__ = ("_protocol", "_stream")

    def __init__(self, protocol: TtrpcProtocol, stream: int, route: Route, request: Request) -> None:
        metadata: dict[str, list[str]] = {}
        for pair in request.metadata:
            metadata.setdefault(pair.key.lower(), []).append(pair.value)
        super().__init__(route, metadata, protocol.peer, protocol.lanes)
        self._protocol = protocol
        self._stream = stream

    def take(self, data: bytes) -> None:
        """A message of a client that streams."""
        self._protocol.hold(len(data))
        self.deliver(data)

    def _taken(self, size: int, *, empty: bool) -> None:
        self._protocol.hold(-size)

    def _write(self, data: bytes) -> None:
        if len(data) > ttrpc.MESSAGE_LIMIT:
            raise _too_long(data)
        self._protocol.write(ttrpc.encode(self._stream, ttrpc.DATA, data))

    def _check_size(self, data: bytes) -> None:
        """What is too long is noticed where it is sent."""

    def _congested(self) -> bool:
        return not self.over and self._protocol.paused

    def _finish(self, data: bytes | None, failed: Status | None) -> None:
        if failed is None and self.route.method.server_streaming:
            last = ttrpc.encode(self._stream, ttrpc.DATA, flags=ttrpc.REMOTE_CLOSED | ttrpc.NO_DATA)
        else:
            last = _response(self._stream, data or b"", failed)
        self._protocol.end(self._stream, last)

    def _close(self) -> None:
        if self.route.method.client_streaming:
            self._protocol.hold(-sum(map(len, self._inbox)))
        super()._close()


class TtrpcProtocol(ServerProtocol):
    """One connection of a client. calls: in progress, by stream."""

    calls: dict[int, TtrpcCall]

    def __init__(self, owner: Connections) -> None:
        super().__init__(owner)
        self.calls = {}
        self._decoder = ttrpc.Decoder()
        self._last_stream = 0
        self._held = 0
        self._stopping = False

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        try:
            for frame in self._decoder.feed(data):
                self._handle(frame)
        except ttrpc.ProtocolError:
            if self.transport is not None:
                self.transport.close()

    def flush(self) -> None:
        """Close a connection that has nothing to do any more; what is sent is sent at once."""
        if self._stopping and not self.calls and self.transport is not None:
            self.transport.close()

    def write(self, data: bytes) -> None:
        """Send frames."""
        if self.transport is not None:
            self.transport.write(data)

    def end(self, stream: int, last: bytes) -> None:
        """Send a call's last frame, and forget it."""
        self.write(last)
        self.calls.pop(stream, None)
        self.flush()

    def hold(self, size: int) -> None:
        """So many bytes more (or less) wait for handlers."""
        before = self._held
        self._held += size
        if self.transport is None or self.paused:
            return
        if before <= HELD_LIMIT < self._held:
            self.transport.pause_reading()
        elif before > HELD_LIMIT >= self._held:
            self.transport.resume_reading()

    def resume_writing(self) -> None:
        """asyncio: the client reads again."""
        super().resume_writing()
        if self._held > HELD_LIMIT and self.transport is not None:
            self.transport.pause_reading()

    def stop(self) -> None:
        """Take no more calls; those in progress go on."""
        self._stopping = True
        self.flush()

    def refuse_all(self, reason: str) -> None:
        """End the calls in progress, and the connection."""
        self._stopping = True
        for call in list(self.calls.values()):
            call.refuse(reason)
        self.flush()

    def _handle(self, frame: Frame) -> None:
        call = self.calls.get(frame.stream)
        if frame.kind == ttrpc.REQUEST:
            self._on_request(frame)
        elif frame.kind == ttrpc.DATA and call is not None:
            if not frame.flags & ttrpc.NO_DATA:
                call.take(frame.payload)
            if frame.flags & ttrpc.REMOTE_CLOSED:
                call.end_of_requests()

    def _on_request(self, frame: Frame) -> None:
        stream = frame.stream
        try:
            request, route = self._accept(frame)
        except (InvalidArgument, ResourceExhausted, Unimplemented, DecodeError) as error:
            self.write(_response(stream, b"", status_of(error)))
            return
        self._last_stream = stream
        call = self.calls[stream] = TtrpcCall(self, stream, route, request)
        call.begin(request.timeout_nano / _NS if request.timeout_nano > 0 else None)
        if not route.method.client_streaming:
            call.deliver(request.payload)
            call.end_of_requests()
        elif not frame.flags & ttrpc.REMOTE_OPEN:
            call.end_of_requests()

    def _accept(self, frame: Frame) -> tuple[Request, Route]:
        if frame.stream % 2 == 0 or frame.stream <= self._last_stream:
            raise InvalidArgument(f"stream {frame.stream}: a client's are odd and grow")
        if len(self.calls) >= self.owner.limits.streams or self._stopping:
            raise ResourceExhausted("too many calls at once")
        request = ttrpc.Request.decode(frame.payload)
        route = self.services.find(request.service, request.method)
        if route is None:
            raise Unimplemented(self.services.missing(request.service, request.method))
        return request, route


def _response(stream: int, data: bytes, failed: Status | None) -> bytes:
    payload = ttrpc.Response(status=failed, payload=data).encode()
    if len(payload) > ttrpc.MESSAGE_LIMIT:
        payload = ttrpc.Response(status=status_of(_too_long(data))).encode()
    return ttrpc.encode(stream, ttrpc.RESPONSE, payload)


def _too_long(data: bytes) -> ResourceExhausted:
    return ResourceExhausted(f"a response of {len(data)} bytes; ttrpc takes at most {ttrpc.MESSAGE_LIMIT}")
