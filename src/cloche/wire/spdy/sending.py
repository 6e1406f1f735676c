"""The half of a SPDY connection that sends: streams opened and answered, data within the peer's windows."""

from __future__ import annotations

from cloche.wire.http2_events import Writable
from cloche.wire.http2_frames import ConnectionFailure, StreamFailure
from cloche.wire.spdy import frames
from cloche.wire.spdy.headers import Compressor
from cloche.wire.spdy.stream import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.wire.spdy.events import Event

FRAME_SIZE = 64 << 10
"""Bytes of data in the frames that we send."""


class Sender:
    """What `cloche.wire.spdy.connection.Connection` is built on.

    streams: those that are open, by number. goodbye: why the connection ended, None while it has not: after
    that nothing received means anything, and what `take` still has should be sent. stopping: whether we
    take no more streams.
    """

    def __init__(self, *, client: bool, window: int, credit: bool = True) -> None:
        self._credit = credit
        self.streams: dict[int, Stream] = {}
        self.goodbye: str | None = None
        self.stopping = False
        self._out: list[bytes] = []
        self._events: list[Event] = []
        self._parity = 1 if client else 0
        self._next_stream = 1 if client else 2
        self._next_ping = self._next_stream
        self._last_stream = 0
        self._compressor = Compressor()
        self._receive_window = window or frames.DEFAULT_WINDOW
        self._uncredited = 0
        self._windows_known = False
        self._initial_window = frames.DEFAULT_WINDOW
        self._send_window = frames.DEFAULT_WINDOW
        if window:
            self._out.append(frames.settings([(frames.INITIAL_WINDOW_SIZE, window)]))

    def take(self) -> bytes:
        """What is to be sent to the peer now; empty where nothing is."""
        out, self._out = self._out, []
        return out[0] if len(out) == 1 else b"".join(out)

    def open(self, headers: Mapping[str, str], *, end: bool = False) -> int:
        """Open a stream; returns its number. headers: names in lower case."""
        number = self._next_stream
        self._next_stream += 2
        self._out.append(frames.syn_stream(number, self._compressor.encode(headers), fin=end))
        self._add(number).local_closed = end
        return number

    def reply(self, number: int, headers: Mapping[str, str] | None = None, *, end: bool = False) -> None:
        """Take a stream that the peer opened. Nothing happens where it is over, or was taken before."""
        stream = self.streams.get(number)
        if stream is None or stream.replied or stream.local_closed or number % 2 == self._parity:
            return
        stream.replied = True
        block = self._compressor.encode(headers or {})
        self._out.append(frames.with_headers(frames.SYN_REPLY, number, block, fin=end))
        stream.local_closed = end
        self._forget_if_over(stream)

    def send_data(self, number: int, data: bytes, *, end: bool = False) -> None:
        """Send data, now or as soon as the peer takes it. Nothing happens where our half is over."""
        stream = self.streams.get(number)
        if stream is None or stream.local_closed:
            return
        stream.queue(data, end=end)
        self._push(stream)

    def waiting(self, number: int) -> int:
        """How many bytes of a stream wait for the peer to take them."""
        stream = self.streams.get(number)
        return 0 if stream is None else stream.pending

    def consumed(self, number: int, size: int) -> None:
        """So many bytes of a stream's data were dealt with: the peer may send as many more."""
        stream = self.streams.get(number)
        if stream is None or stream.remote_closed or not self._credit:
            return
        stream.uncredited += size
        if stream.uncredited * 2 >= self._receive_window:
            self._out.append(frames.window_update(number, stream.uncredited))
            stream.receive_window += stream.uncredited
            stream.uncredited = 0

    def reset(self, number: int, code: int = frames.CANCEL) -> None:
        """End a stream before its end. What the peer still sends on it is ignored."""
        self.streams.pop(number, None)
        self._out.append(frames.rst_stream(number, code))

    def ping(self) -> int:
        """Ask for a sign of life; returns the number that comes back in Pinged."""
        number = self._next_ping
        self._next_ping = number + 2 if number < frames.LARGEST else 2 - self._parity
        self._out.append(frames.ping(number))
        return number

    def stop(self) -> None:
        """Take no more streams; those that are open go on. The peer is told."""
        if not self.stopping and self.goodbye is None:
            self.stopping = True
            self._out.append(frames.goaway(self._last_stream, frames.GOAWAY_OK))

    def close(self, code: int = frames.GOAWAY_OK, reason: str = "") -> None:
        """End the connection. The peer is told the code; reason is for us."""
        if self.goodbye is None:
            self.goodbye = reason
            self._out.append(frames.goaway(self._last_stream, code))

    def _add(self, number: int) -> Stream:
        stream = self.streams[number] = Stream(number, self._initial_window, self._receive_window)
        return stream

    def _credit_connection(self, size: int) -> None:
        """Give the connection's window back: a stream that is not read holds up itself only."""
        self._uncredited += size
        if self._credit and self._uncredited * 2 >= frames.DEFAULT_WINDOW:
            self._out.append(frames.window_update(0, self._uncredited))
            self._uncredited = 0

    def _set_initial_window(self, size: int) -> None:
        self._windows_known = True
        change, self._initial_window = size - self._initial_window, size
        for stream in list(self.streams.values()):
            stream.send_window += change
            self._release(stream)

    def _widen(self, number: int, increment: int) -> None:
        """The peer takes more, on a stream or on all of them. Raises ConnectionFailure, StreamFailure."""
        self._windows_known = True
        if number == 0:
            self._send_window += increment
            if not increment or self._send_window > frames.LARGEST:
                raise ConnectionFailure(frames.GOAWAY_PROTOCOL_ERROR, "a window of nothing, or above 2^31-1")
            for stream in list(self.streams.values()):
                self._release(stream)
            return
        found = self.streams.get(number)
        if found is None:
            return
        if not found.widen(increment):
            raise StreamFailure(number, frames.FLOW_CONTROL_ERROR, "a window of nothing, or above 2^31-1")
        self._release(found)

    def _release(self, stream: Stream) -> None:
        """A window has grown: send what waited for that."""
        if stream.waits:
            self._push(stream)
            if not stream.pending:
                self._events.append(Writable(stream.number))

    def _push(self, stream: Stream) -> None:
        """Send what waits on a stream as far as the windows go, where the peer has any."""
        while stream.waits:
            room = min(self._send_window, stream.send_window) if self._windows_known else frames.LARGEST
            if room <= 0 and stream.pending:
                return
            self._send_window -= stream.next_frame(self._out, min(room, FRAME_SIZE))
        self._forget_if_over(stream)

    def _forget_if_over(self, stream: Stream) -> None:
        if stream.over:
            self.streams.pop(stream.number, None)
