"""The half of an HTTP/2 connection that sends: windows, frames cut to size, streams in turn."""

from __future__ import annotations

from cloche.errors import Unavailable
from cloche.wire import http2_frames as frames
from cloche.wire import http2_headers
from cloche.wire.http2_events import Writable
from cloche.wire.http2_flow import Stream
from cloche.wire.http2_limits import PeerSettings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.wire.http2_events import Event
    from cloche.wire.http2_limits import Limits

_RESETS_REMEMBERED = 1000


class Sender:
    """What `cloche.wire.http2.Connection` is built on.

    streams: those that are open, by number. goodbye: why the connection ended, None while it has
    not: after that nothing received means anything, and what `take` still has should be sent.
    stopping: whether we have told the peer to open no more streams.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float], *, client: bool) -> None:
        self.limits = limits
        self.peer = PeerSettings()
        self.streams: dict[int, Stream] = {}
        self.goodbye: str | None = None
        self.stopping = False
        self._client = client
        self._clock = clock
        self._out: list[bytes] = []
        self._events: list[Event] = []
        self._first_block = True
        self._next_stream = 1
        self._last_stream = 0
        self._send_window = frames.DEFAULT_WINDOW
        self._receive_window = frames.DEFAULT_WINDOW
        self._ready: dict[int, Stream] = {}
        self._were_reset: dict[int, None] = {}
        if client:
            self._out.append(frames.PREFACE)
        self._out.append(frames.settings(limits.settings(client=client)))
        self._credit_connection()

    def take(self) -> bytes:
        """What is to be sent to the peer now; empty where nothing is."""
        out, self._out = self._out, []
        return out[0] if len(out) == 1 else b"".join(out)

    def open(self) -> int:
        """The number of a new stream of ours, which a client opens by sending headers on it.

        Raises Unavailable where the peer takes no more at once, or the numbers are used up.
        """
        if len(self.streams) >= self.peer.streams or self._next_stream > frames.LARGEST_STREAM:
            raise Unavailable(f"the server takes no more than {self.peer.streams} calls at once")
        number = self._next_stream
        self._next_stream += 2
        self._open(number)
        return number

    def _open(self, number: int) -> Stream:
        stream = Stream(number, self.peer.initial_window, self.limits.stream_window, self._clock())
        self.streams[number] = stream
        return stream

    def send_headers(self, number: int, block: bytes, *, end: bool = False) -> None:
        """Send a head, or trailers with `end` set: these wait behind the data.

        block: as `http2_headers.encode` writes it. Nothing happens where the stream is over.
        """
        stream = self.streams.get(number)
        if stream is None or stream.local_closed:
            return
        if self._first_block:
            block = http2_headers.TABLE_OF_SIZE_0 + block
            self._first_block = False
        if stream.waits:
            stream.queue(b"", end=True, trailers=block)
            return
        self._out.append(frames.headers(number, block, self.peer.frame_size, end_stream=end))
        if end:
            self._local_end(stream)

    def send_data(self, number: int, data: bytes, *, end: bool = False) -> None:
        """Send data, now or as soon as the peer takes it. Nothing happens where the stream is over."""
        stream = self.streams.get(number)
        if stream is None or stream.local_closed:
            return
        size = len(data)
        room = min(self._send_window, stream.send_window, self.peer.frame_size)
        if size <= room and not stream.waits:
            stream.send_window -= size
            self._send_window -= size
            self._out.append(frames.header(size, frames.DATA, frames.END_STREAM if end else 0, number))
            self._out.append(data)
            if end:
                self._local_end(stream)
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
        if stream is None or stream.remote_closed:
            return
        stream.uncredited += size
        if stream.uncredited * 4 >= self.limits.stream_window:
            self._out.append(frames.window_update(number, stream.uncredited))
            stream.receive_window += stream.uncredited
            stream.uncredited = 0

    def reset(self, number: int, code: int = frames.CANCEL) -> None:
        """End a stream before its end. What the peer still sends on it is ignored."""
        stream = self.streams.pop(number, None)
        if stream is not None:
            stream.drop()
            self._ready.pop(number, None)
        self._were_reset[number] = None
        if len(self._were_reset) > _RESETS_REMEMBERED:
            del self._were_reset[next(iter(self._were_reset))]
        self._out.append(frames.rst_stream(number, code))

    def ping(self, payload: bytes) -> None:
        """Ask for a sign of life. payload: eight bytes, which come back in PingAnswered."""
        self._out.append(frames.frame(frames.PING, 0, 0, payload))

    def stop(self) -> None:
        """Take no more streams; those that are open go on. The peer is told."""
        if not self.stopping and self.goodbye is None:
            self.stopping = True
            self._out.append(frames.goaway(self._last_stream, frames.NO_ERROR, "stopping"))

    def close(self, code: int = frames.NO_ERROR, reason: str = "") -> None:
        """End the connection. The peer is told why."""
        if self.goodbye is None:
            self.goodbye = reason
            self._out.append(frames.goaway(self._last_stream, code, reason))

    def _credit_connection(self) -> None:
        """Give the connection's window back when a quarter of it is used."""
        missing = self.limits.connection_window - self._receive_window
        if missing * 4 >= self.limits.connection_window:
            self._out.append(frames.window_update(0, missing))
            self._receive_window += missing

    def _push(self, stream: Stream) -> None:
        """Send what waits on a stream as far as both windows go."""
        while sent := stream.next_frame(self._out, self._send_window, self.peer.frame_size):
            self._send_window -= sent
        self._settle(stream)

    def _flush(self) -> None:
        """The connection's window has grown: send what waited for that, one frame of each stream in turn."""
        while self._ready and self._send_window > 0:
            stream = self._ready.pop(next(iter(self._ready)))
            self._send_window -= stream.next_frame(self._out, self._send_window, self.peer.frame_size)
            self._settle(stream)

    def _settle(self, stream: Stream) -> None:
        """End a stream that has sent everything, or note what it waits for.

        Only those that wait for the connection are looked at when its window grows: a peer may have
        any number of streams wait for their own.
        """
        if stream.pending:
            if stream.send_window > 0:
                self._ready[stream.stream] = stream
            return
        self._ready.pop(stream.stream, None)
        stream.end_frame(self._out, self.peer.frame_size)
        if stream.local_closed:
            self._local_end(stream)
        else:
            self._events.append(Writable(stream.stream))

    def _local_end(self, stream: Stream) -> None:
        stream.local_closed = True
        if stream.remote_closed:
            self._forget(stream)
        elif not self._client:
            # The answer is complete before the request is: no more of it is wanted (RFC 9113, section 8.1).
            self.reset(stream.stream, frames.NO_ERROR)

    def _forget(self, stream: Stream) -> None:
        stream.closed = True
        self.streams.pop(stream.stream, None)
