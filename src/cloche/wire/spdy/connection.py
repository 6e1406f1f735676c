"""A SPDY/3.1 connection, of a server or of a client: bytes in, events and bytes out.

    connection = Connection()
    for event in connection.receive(data): ...
    connection.reply(event.stream)
    connection.send_data(event.stream, data, end=True)
    socket.send(connection.take())

It has no clock of its own, no socket and no tasks. Kubernetes runs its exec, attach and port-forward
over this protocol; its peers (moby/spdystream) neither keep to windows nor announce any. So we hold
back what we send only from a peer that has shown that it knows windows, by SETTINGS or WINDOW_UPDATE, and
bounding what is received is left to the user, who stops reading from the socket.
"""

from __future__ import annotations

from time import monotonic

from cloche.spec.record import Record
from cloche.wire.http2_events import Closed, Data, Reset
from cloche.wire.http2_frames import ConnectionFailure, StreamFailure
from cloche.wire.http2_limits import Budget
from cloche.wire.spdy import frames
from cloche.wire.spdy.events import GoneAway, Opened, Pinged, Replied
from cloche.wire.spdy.headers import LIMIT, Decompressor
from cloche.wire.spdy.sending import Sender
from cloche.wire.spdy.stream import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.wire.spdy.events import Event


class Limits(Record):
    """What we take. streams: at once.

    window: bytes that a peer may send on a stream before it hears that they were consumed, which we then
    announce, and hold it to; 0 to say nothing.
    credit: whether it hears what was consumed at all. One that knows no windows may have closed its socket
    by then, and then TCP takes from us what it had said before.
    """

    streams: int = 2000
    window: int = 0
    credit: bool = True


class Connection(Sender):
    """One connection.

    client: whether we are the client. limits: what we promise to take. clock: seconds that only grow.
    """

    def __init__(
        self, *, client: bool = False, limits: Limits | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self.limits = limits or Limits()
        super().__init__(client=client, window=self.limits.window, credit=self.limits.credit)
        self._budget = Budget(clock)
        self._headers = Decompressor()
        self._held = bytearray()
        self._stream = 0
        self._left = 0
        self._fin = False

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the peer; what they mean, in their order.

        A broken rule of the connection is no exception but its last event, Closed. The data of one frame
        may come as several events, since a frame has up to 16 MiB.
        """
        events: list[Event] = []
        self._events = events
        if self.goodbye is not None:
            return events
        try:
            self._parse(data)
        except ConnectionFailure as failure:
            self.close(frames.GOAWAY_PROTOCOL_ERROR, failure.reason)
            events.append(Closed(frames.GOAWAY_PROTOCOL_ERROR, failure.reason))
        return events

    def _parse(self, received: bytes) -> None:
        source = bytes(self._held) + received if self._held else received
        self._held.clear()
        position, size = 0, len(source)
        while True:
            if self._left:
                if position == size:
                    return
                part = source[position : position + self._left]
                position += len(part)
                self._left -= len(part)
                self._checked(self._on_data, part)
                continue
            if size - position < frames.HEADER.size:
                break
            first, second = frames.HEADER.unpack_from(source, position)
            flags, length = second >> 24, second & frames.LARGEST_PAYLOAD
            start = position + frames.HEADER.size
            if not first & frames.CONTROL:
                position = start
                self._stream, self._left, self._fin = first, length, bool(flags & frames.FIN)
                if not length:
                    self._checked(self._on_data, b"")
                continue
            if length > LIMIT:
                raise _failure(f"a control frame of {length} bytes")
            if start + length > size:
                break
            position = start + length
            self._control(first, flags, source[start:position])
        self._held += source[position:]

    def _control(self, first: int, flags: int, payload: bytes) -> None:
        if first >> 16 & 0x7FFF != frames.VERSION:
            raise _failure("another version of SPDY than 3")
        kind = first & 0xFFFF
        known = _KINDS.get(kind)
        if known is None:
            self._budget.spend()
            return
        handle, least = known
        if len(payload) < least or (kind in _FIXED and len(payload) != least):
            raise _failure(f"a control frame of kind {kind} and {len(payload)} bytes")
        self._checked(handle, self, flags, payload)

    def _checked(self, handle: Callable[..., None], *arguments: object) -> None:
        """What is wrong with a stream ends the stream, and what was sent on it before is forgotten."""
        try:
            handle(*arguments)
        except StreamFailure as failure:
            self._budget.spend()
            known = failure.stream in self.streams
            self.reset(failure.stream, failure.code)
            if known:
                self._events.append(Reset(failure.stream, failure.code, failure.reason))

    def _on_data(self, data: bytes) -> None:
        number = self._stream
        stream = self.streams.get(number)
        if number == 0:
            raise _failure("data on stream 0")
        if data:
            self._credit_connection(len(data))
        else:
            self._budget.spend(0 if self._fin else 1)
        if stream is None:
            if number > self._last_opened(number):
                raise _failure(f"data on stream {number}, which was never open")
            self._budget.spend(0.1)  # on its way when the stream was reset: all right within limits
            return
        if stream.remote_closed:
            raise StreamFailure(number, frames.STREAM_ALREADY_CLOSED, "data after the end of a stream")
        stream.receive_window -= len(data)
        if self.limits.window and stream.receive_window < 0:
            raise StreamFailure(number, frames.FLOW_CONTROL_ERROR, "more data than the window allows")
        end = self._fin and not self._left
        self._events.append(Data(number, data, end))
        if end:
            self._remote_end(stream)

    def _on_syn_stream(self, flags: int, payload: bytes) -> None:
        number = frames.word(payload) & frames.LARGEST
        headers = self._headers.decode(payload[frames.SYN_STREAM_HEAD.size :])
        if number == 0 or number % 2 == self._parity:
            raise _failure(f"the peer may not open stream {number}")
        if number <= self._last_stream:
            raise _failure(f"stream {number} is opened after {self._last_stream}")
        self._last_stream = number
        if self.stopping:
            raise StreamFailure(number, frames.REFUSED_STREAM, "we are stopping")
        if len(self.streams) >= self.limits.streams:
            raise StreamFailure(number, frames.REFUSED_STREAM, "too many streams")
        stream = self._add(number)
        stream.local_closed = bool(flags & frames.UNIDIRECTIONAL)
        end = bool(flags & frames.FIN)
        self._events.append(Opened(number, headers, end=end))
        if end:
            self._remote_end(stream)

    def _on_syn_reply(self, flags: int, payload: bytes) -> None:
        number = frames.word(payload) & frames.LARGEST
        headers = self._headers.decode(payload[4:])
        stream = self.streams.get(number)
        if stream is None:
            self._budget.spend()
            return
        if stream.replied or number % 2 != self._parity:
            raise StreamFailure(number, frames.STREAM_IN_USE, "a second reply to a stream")
        stream.replied = True
        self._events.append(Replied(number, headers, end=bool(flags & frames.FIN)))
        if flags & frames.FIN:
            self._remote_end(stream)

    def _on_headers(self, flags: int, payload: bytes) -> None:
        """More headers, in which nobody says anything; but they may be the end of a stream."""
        self._budget.spend()
        number = frames.word(payload) & frames.LARGEST
        self._headers.decode(payload[4:])
        stream = self.streams.get(number)
        if stream is not None and not stream.remote_closed and flags & frames.FIN:
            self._events.append(Data(number, b"", True))
            self._remote_end(stream)

    def _on_rst_stream(self, _flags: int, payload: bytes) -> None:
        number, code = frames.PAIR.unpack(payload)
        self._budget.spend()
        if self.streams.pop(number, None) is not None:
            self._events.append(Reset(number, code, "the peer gave the stream up"))

    def _on_settings(self, _flags: int, payload: bytes) -> None:
        self._budget.spend()
        for number, value in frames.read_settings(payload):
            if number != frames.INITIAL_WINDOW_SIZE:
                continue
            if value > frames.LARGEST:
                raise _failure("an initial window above 2^31-1")
            self._set_initial_window(value)

    def _on_ping(self, _flags: int, payload: bytes) -> None:
        number = frames.word(payload)
        if number % 2 == self._parity:
            self._events.append(Pinged(number))
            return
        self._budget.spend()
        self._out.append(frames.ping(number))

    def _on_goaway(self, _flags: int, payload: bytes) -> None:
        self._budget.spend()
        last, code = frames.PAIR.unpack(payload)
        self._events.append(GoneAway(last & frames.LARGEST, code))

    def _on_window_update(self, _flags: int, payload: bytes) -> None:
        number, increment = frames.PAIR.unpack(payload)
        self._budget.spend(0.1)
        self._widen(number & frames.LARGEST, increment & frames.LARGEST)

    def _last_opened(self, number: int) -> int:
        return self._next_stream - 2 if number % 2 == self._parity else self._last_stream

    def _remote_end(self, stream: Stream) -> None:
        stream.remote_closed = True
        self._forget_if_over(stream)


def _failure(reason: str) -> ConnectionFailure:
    return ConnectionFailure(frames.GOAWAY_PROTOCOL_ERROR, reason)


_KINDS: dict[int, tuple[Callable[[Connection, int, bytes], None], int]] = {
    frames.SYN_STREAM: (Connection._on_syn_stream, frames.SYN_STREAM_HEAD.size),
    frames.SYN_REPLY: (Connection._on_syn_reply, 4),
    frames.RST_STREAM: (Connection._on_rst_stream, 8),
    frames.SETTINGS: (Connection._on_settings, 4),
    frames.PING: (Connection._on_ping, 4),
    frames.GOAWAY: (Connection._on_goaway, 8),
    frames.HEADERS: (Connection._on_headers, 4),
    frames.WINDOW_UPDATE: (Connection._on_window_update, 8),
}
"""What to do with a control frame, and how long it is at least."""
_FIXED = {frames.RST_STREAM, frames.PING, frames.GOAWAY, frames.WINDOW_UPDATE}
