"""An HTTP/2 connection (RFC 9113), of a server or of a client: bytes in, events and bytes out.

    connection = Connection()
    for event in connection.receive(data): ...
    connection.send_headers(event.stream, fields)
    connection.send_data(event.stream, data, end=True)
    socket.send(connection.take())

It has no clock of its own, no socket and no tasks. What it is for is gRPC between processes of one
machine, so there is neither server push nor upgrade from HTTP/1.1, and priorities are ignored.

A peer that makes work without asking for anything (pings, settings, empty frames, streams opened
and reset, CVE-2023-44487 and CVE-2019-9512 to 9518) has a budget for it, and is told to calm down
when that is spent. So is one whose header block does not end (CVE-2024-27316 and its relatives).
"""

from __future__ import annotations

from time import monotonic

from cloche.wire import http2_frames as frames
from cloche.wire import http2_headers
from cloche.wire.http2_events import Closed, Data, GoneAway, Headers, PingAnswered, Reset
from cloche.wire.http2_flow import Stream
from cloche.wire.http2_frames import ConnectionFailure, StreamFailure
from cloche.wire.http2_limits import Budget, Limits
from cloche.wire.http2_sending import Sender

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.wire.http2_events import Event

_YOUNG_S = 1.0
_ENDLESS = "trailers that do not end the stream"


class Connection(Sender):
    """One connection.

    client: whether we are the client. limits: what we promise to take. clock: seconds that only grow.
    """

    def __init__(
        self, *, client: bool = False, limits: Limits | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        super().__init__(limits or Limits(), clock, client=client)
        self._budget = Budget(clock)
        self._held = bytearray()
        self._preface = b"" if client else frames.PREFACE
        self._settled = False
        self._reader = http2_headers.Reader()
        self._block: list[bytes] | None = None
        self._block_stream = 0
        self._block_flags = 0
        self._last_stream = 0

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the peer; what they mean, in their order.

        A broken rule of the connection is no exception but its last event, Closed.
        """
        events: list[Event] = []
        self._events = events
        if self.goodbye is not None:
            return events
        try:
            self._parse(data)
        except ConnectionFailure as failure:
            self.close(failure.code, failure.reason)
            events.append(Closed(failure.code, failure.reason))
        return events

    def _parse(self, data: bytes) -> None:
        source: bytes | bytearray = data
        if self._held:
            self._held += data
            source = self._held
        position = 0
        if self._preface:
            position = self._skip_preface(source)
            if not position:
                self._held[:] = source
                return
        size = len(source)
        unpack, limit = frames.HEADER.unpack_from, self.limits.frame_size
        while size - position >= frames.HEADER_SIZE:
            upper, lowest, kind, flags, stream = unpack(source, position)
            length = upper << 8 | lowest
            if length > limit:
                raise ConnectionFailure(frames.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            start = position + frames.HEADER_SIZE
            position = start + length
            if position > size:
                position = start - frames.HEADER_SIZE
                break
            self._frame(kind, flags, stream & frames.LARGEST_STREAM, bytes(source[start:position]))
        if source is self._held:
            del self._held[:position]
        else:
            self._held += data[position:]

    def _skip_preface(self, source: bytes | bytearray) -> int:
        size = min(len(source), len(self._preface))
        if source[:size] != self._preface[:size]:
            raise ConnectionFailure(frames.PROTOCOL_ERROR, "this is not HTTP/2")
        if size < len(self._preface):
            return 0
        self._preface = b""
        return size

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and (kind != frames.CONTINUATION or stream != self._block_stream):
            raise ConnectionFailure(frames.PROTOCOL_ERROR, "a frame inside a header block")
        if not self._settled:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise ConnectionFailure(frames.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self._settled = True
        handle = _HANDLERS.get(kind)
        if handle is None:
            self._budget.spend()
            return
        try:
            handle(self, flags, stream, payload)
        except StreamFailure as failure:
            self._refuse(failure)

    def _refuse(self, failure: StreamFailure) -> None:
        known = failure.stream in self.streams
        self._budget.spend()
        self.reset(failure.stream, failure.code)
        if known:
            self._events.append(Reset(failure.stream, failure.code, failure.reason))

    def _on_data(self, flags: int, number: int, payload: bytes) -> None:
        self._require_used(number, "DATA")
        size = len(payload)
        self._receive_window -= size
        if self._receive_window < 0:
            raise ConnectionFailure(frames.FLOW_CONTROL_ERROR, "more data than the window allows")
        self._credit_connection()
        content = frames.without_padding(flags, payload) if flags & frames.PADDED else payload
        end = bool(flags & frames.END_STREAM)
        stream = self.streams.get(number)
        if stream is None or stream.remote_closed:
            self._refuse_closed(number)
            return
        stream.count(size, len(content), end=end)
        if not content and not end:
            self._budget.spend()
        if size > len(content):
            self.consumed(number, size - len(content))
        self._events.append(Data(number, content, end))
        if end:
            self._remote_end(stream)

    def _refuse_closed(self, number: int) -> None:
        if number not in self._were_reset:
            raise StreamFailure(number, frames.STREAM_CLOSED, "the stream is closed")
        self._budget.spend(0.1)  # on its way when the stream was reset: all right within limits

    def _on_headers(self, flags: int, number: int, payload: bytes) -> None:
        if number == 0:
            raise ConnectionFailure(frames.PROTOCOL_ERROR, "HEADERS on stream 0")
        block = frames.without_padding(flags, payload)
        if flags & frames.PRIORITISED:
            if len(block) < 5:
                raise ConnectionFailure(frames.FRAME_SIZE_ERROR, "a priority of less than five bytes")
            self._check_priority(number, block)
            block = block[5:]
        if flags & frames.END_HEADERS:
            self._on_block(number, block, end=bool(flags & frames.END_STREAM))
            return
        self._block, self._block_stream, self._block_flags = [block], number, flags

    def _on_continuation(self, flags: int, number: int, payload: bytes) -> None:
        if self._block is None:
            raise ConnectionFailure(frames.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        self._budget.spend(0 if payload else 10)
        self._block.append(payload)
        if sum(map(len, self._block)) > http2_headers.HARD_LIMIT:
            raise ConnectionFailure(frames.ENHANCE_YOUR_CALM, "a header block without an end")
        if flags & frames.END_HEADERS:
            block, self._block = b"".join(self._block), None
            self._on_block(number, block, end=bool(self._block_flags & frames.END_STREAM))

    def _on_block(self, number: int, block: bytes, *, end: bool) -> None:
        head = self._reader.read(block)
        stream = self.streams.get(number)
        if stream is None and not self._client:
            stream = self._accept(number, end=end)
            if stream is None:
                return
            fault = head.request_fault()
            stream.expected = head.content_length
        elif stream is None:
            self._require_used(number, "HEADERS")
            return  # the answer to what we have cancelled
        elif stream.remote_closed:
            raise StreamFailure(number, frames.STREAM_CLOSED, "HEADERS after the end of the stream")
        elif self._client and not stream.answered:
            fault = head.response_fault()
            if not fault and head.pseudo[b":status"][:1] == b"1":
                return
            stream.answered = True
        else:
            fault = head.trailer_fault() or ("" if end else _ENDLESS)
        if not fault and end and stream.expected > 0:
            fault = "not as long as content-length says"
        if fault:
            raise StreamFailure(number, frames.PROTOCOL_ERROR, fault)
        self._events.append(Headers(number, head, end))
        if end:
            self._remote_end(stream)

    def _accept(self, number: int, *, end: bool) -> Stream | None:
        """The stream of a new request; None for what was on its way when its stream was reset."""
        if number % 2 == 0:
            raise ConnectionFailure(frames.PROTOCOL_ERROR, "a client's stream has an odd number")
        if number <= self._last_stream:
            if number in self._were_reset and end:
                return None
            if number in self._were_reset:
                raise StreamFailure(number, frames.PROTOCOL_ERROR, _ENDLESS)
            raise ConnectionFailure(frames.STREAM_CLOSED, "HEADERS on a stream that is closed")
        self._last_stream = number
        if self.stopping:
            raise StreamFailure(number, frames.REFUSED_STREAM, "the server is stopping")
        if len(self.streams) >= self.limits.streams:
            raise StreamFailure(number, frames.REFUSED_STREAM, "too many streams")
        return self._open(number)

    def _on_priority(self, _flags: int, number: int, payload: bytes) -> None:
        if number == 0:
            raise ConnectionFailure(frames.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:
            raise StreamFailure(number, frames.FRAME_SIZE_ERROR, "a priority not of five bytes")
        self._budget.spend()
        self._check_priority(number, payload)

    @staticmethod
    def _check_priority(number: int, payload: bytes) -> None:
        if int.from_bytes(payload[:4], "big") & frames.LARGEST_STREAM == number:
            raise StreamFailure(number, frames.PROTOCOL_ERROR, "a stream that depends on itself")

    def _on_rst_stream(self, _flags: int, number: int, payload: bytes) -> None:
        self._require_used(number, "RST_STREAM")
        if len(payload) != 4:
            raise ConnectionFailure(frames.FRAME_SIZE_ERROR, "RST_STREAM not of four bytes")
        stream = self.streams.pop(number, None)
        if stream is None:
            self._budget.spend()
            return
        if not self._client and self._clock() - stream.opened < _YOUNG_S:
            self._budget.spend(5)
        self._ready.pop(number, None)
        stream.drop()
        self._events.append(Reset(number, int.from_bytes(payload, "big"), "the peer cancelled the stream"))

    def _on_settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFailure(frames.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionFailure(frames.FRAME_SIZE_ERROR, "an acknowledgement with settings")
            return
        self._budget.spend()
        before = self.peer.initial_window
        self.peer.update(frames.read_settings(payload), client=self._client)
        change = self.peer.initial_window - before
        for stream in self.streams.values():
            stream.send_window += change
            if stream.send_window > frames.LARGEST_WINDOW:
                raise ConnectionFailure(frames.FLOW_CONTROL_ERROR, "a window above 2^31-1")
        self._out.append(frames.SETTINGS_ACK)
        if change > 0:
            for stream in [stream for stream in self.streams.values() if stream.pending]:
                self._push(stream)

    def _on_push_promise(self, _flags: int, _number: int, _payload: bytes) -> None:
        raise ConnectionFailure(frames.PROTOCOL_ERROR, "nobody asked for PUSH_PROMISE")

    def _on_ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFailure(frames.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFailure(frames.FRAME_SIZE_ERROR, "PING not of eight bytes")
        if flags & frames.ACK:
            self._events.append(PingAnswered(payload))
            return
        self._budget.spend()
        self._out.append(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _on_goaway(self, _flags: int, number: int, payload: bytes) -> None:
        if number or len(payload) < 8:
            raise ConnectionFailure(frames.PROTOCOL_ERROR, "GOAWAY on a stream, or cut short")
        self._budget.spend()
        last = int.from_bytes(payload[:4], "big") & frames.LARGEST_STREAM
        code = int.from_bytes(payload[4:8], "big")
        self._events.append(GoneAway(last, code, payload[8:208].decode(errors="replace")))

    def _on_window_update(self, _flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFailure(frames.FRAME_SIZE_ERROR, "WINDOW_UPDATE not of four bytes")
        increment = int.from_bytes(payload, "big") & frames.LARGEST_WINDOW
        if number == 0:
            if increment == 0:
                raise ConnectionFailure(frames.PROTOCOL_ERROR, "a window of no bytes")
            self._send_window += increment
            if self._send_window > frames.LARGEST_WINDOW:
                raise ConnectionFailure(frames.FLOW_CONTROL_ERROR, "a window above 2^31-1")
            self._flush()
            return
        self._require_used(number, "WINDOW_UPDATE")
        stream = self.streams.get(number)
        if stream is not None:
            stream.widen(increment)
            if stream.pending:
                self._push(stream)

    def _require_used(self, number: int, kind: str) -> None:
        used = number < self._next_stream if self._client else number <= self._last_stream
        if number == 0 or not used or number % 2 == 0:
            raise ConnectionFailure(frames.PROTOCOL_ERROR, f"{kind} on stream {number}, which is not open")

    def _remote_end(self, stream: Stream) -> None:
        stream.remote_closed = True
        if stream.local_closed:
            self._forget(stream)


_HANDLERS: dict[int, Callable[[Connection, int, int, bytes], None]] = {
    frames.DATA: Connection._on_data,
    frames.HEADERS: Connection._on_headers,
    frames.PRIORITY: Connection._on_priority,
    frames.RST_STREAM: Connection._on_rst_stream,
    frames.SETTINGS: Connection._on_settings,
    frames.PUSH_PROMISE: Connection._on_push_promise,
    frames.PING: Connection._on_ping,
    frames.GOAWAY: Connection._on_goaway,
    frames.WINDOW_UPDATE: Connection._on_window_update,
    frames.CONTINUATION: Connection._on_continuation,
}
