"""One stream of an HTTP/2 connection: its state, its windows, and what waits to be sent.

    idle ──HEADERS──▶ open ──END_STREAM──▶ half closed (local or remote) ──END_STREAM──▶ closed
                        └────────────────────RST_STREAM──────────────────────────────────▶

A stream that is closed is forgotten, so the two flags say in which of the other states it is.
"""

from __future__ import annotations

from collections import deque

from cloche.wire.http2_frames import (
    DATA,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    LARGEST_WINDOW,
    PROTOCOL_ERROR,
    StreamFailure,
    header,
    headers,
)


class Stream:
    """A stream that is open, at least half.

    send_window, receive_window: in bytes; the first may be below zero after SETTINGS. opened: the
    clock then, in seconds. expected: bytes of content that are still to come; -1 where nobody said.
    """

    __slots__ = (
        "_end",
        "_queue",
        "_trailers",
        "answered",
        "closed",
        "expected",
        "local_closed",
        "opened",
        "pending",
        "receive_window",
        "remote_closed",
        "send_window",
        "stream",
        "uncredited",
    )

    def __init__(self, stream: int, send_window: int, receive_window: int, opened: float) -> None:
        self.stream = stream
        self.send_window = send_window
        self.receive_window = receive_window
        self.opened = opened
        self.uncredited = 0
        self.expected = -1
        self.pending = 0
        self.local_closed = False
        self.remote_closed = False
        self.answered = False
        self.closed = False
        self._queue: deque[memoryview] = deque()
        self._end = False
        self._trailers: bytes | None = None

    @property
    def waits(self) -> bool:
        """Whether something is left to be sent."""
        return bool(self._queue) or self._end

    def queue(self, data: bytes, *, end: bool = False, trailers: bytes | None = None) -> None:
        """Put data, and what ends the stream, behind what waits already."""
        if data:
            self._queue.append(memoryview(data))
            self.pending += len(data)
        self._end = self._end or end
        self._trailers = trailers

    def next_frame(self, out: list[bytes], window: int, frame_size: int) -> int:
        """Append the next frame that the windows allow, if any; returns what it takes from the windows.

        window: the connection's. The stream's own is reduced here.
        """
        if not self._queue:
            return 0
        data = self._queue[0]
        size = min(len(data), frame_size, window, self.send_window)
        if size <= 0:
            return 0
        if size == len(data):
            self._queue.popleft()
        else:
            self._queue[0] = data[size:]
        self.pending -= size
        self.send_window -= size
        last = self._end and not self._queue and self._trailers is None
        out.append(header(size, DATA, END_STREAM if last else 0, self.stream))
        out.append(data[:size])  # type: ignore[arg-type]  # bytes.join takes views
        if last:
            self._finish()
        return size

    def end_frame(self, out: list[bytes], frame_size: int) -> None:
        """Append what ends the stream, once its data is out."""
        if not self._end or self._queue:
            return
        if self._trailers is None:
            out.append(header(0, DATA, END_STREAM, self.stream))
        else:
            out.append(headers(self.stream, self._trailers, frame_size, end_stream=True))
        self._finish()

    def _finish(self) -> None:
        self._end = False
        self.local_closed = True

    def drop(self) -> None:
        """Forget what waits: the stream is reset."""
        self._queue.clear()
        self._end = False
        self.pending = 0
        self.closed = True

    def widen(self, increment: int) -> None:
        """The peer takes so many bytes more. Raises StreamFailure."""
        if increment == 0:
            raise StreamFailure(self.stream, PROTOCOL_ERROR, "a window of no bytes")
        self.send_window += increment
        if self.send_window > LARGEST_WINDOW:
            raise StreamFailure(self.stream, FLOW_CONTROL_ERROR, "a window above 2^31-1")

    def count(self, frame_bytes: int, content_bytes: int, *, end: bool) -> None:
        """Account for a DATA frame. Raises StreamFailure where it is too much, or not what was promised."""
        self.receive_window -= frame_bytes
        if self.receive_window < 0:
            raise StreamFailure(self.stream, FLOW_CONTROL_ERROR, "more data than the window allows")
        if self.expected >= 0:
            self.expected -= content_bytes
            if self.expected < 0 or (end and self.expected):
                raise StreamFailure(self.stream, PROTOCOL_ERROR, "not as long as content-length says")
