"""One stream of a SPDY connection: which halves of it are open, its windows, and what waits to be sent."""

from __future__ import annotations

from collections import deque

from cloche.wire.spdy.frames import LARGEST, data_header


class Stream:
    """A stream that is open, at least half.

    send_window, receive_window: in bytes. uncredited: bytes that were consumed and that the peer does not
    know of. pending: bytes that wait for a window. replied: whether the one that did not open it took it.
    """

    __slots__ = (
        "_end",
        "_queue",
        "local_closed",
        "number",
        "pending",
        "receive_window",
        "remote_closed",
        "replied",
        "send_window",
        "uncredited",
    )

    def __init__(self, number: int, send_window: int, receive_window: int) -> None:
        self.number = number
        self.send_window = send_window
        self.receive_window = receive_window
        self.uncredited = 0
        self.pending = 0
        self.local_closed = False
        self.remote_closed = False
        self.replied = False
        self._queue: deque[memoryview] = deque()
        self._end = False

    @property
    def waits(self) -> bool:
        """Whether something is left to be sent."""
        return bool(self._queue) or self._end

    @property
    def over(self) -> bool:
        """Whether both halves are closed."""
        return self.local_closed and self.remote_closed

    def queue(self, data: bytes, *, end: bool) -> None:
        """Put data behind what waits already. end: nothing follows."""
        if data:
            self._queue.append(memoryview(data))
            self.pending += len(data)
        self._end = self._end or end

    def next_frame(self, out: list[bytes], room: int) -> int:
        """Append the next frame, of no more data than there is room for; returns the bytes of data in it."""
        data: bytes | memoryview = b""
        if self._queue:
            data = self._queue.popleft()
            if len(data) > room:
                self._queue.appendleft(data[room:])
                data = data[:room]
        size = len(data)
        self.pending -= size
        self.send_window -= size
        last = self._end and not self._queue
        out.append(data_header(self.number, size, fin=last))
        out.append(data)  # type: ignore[arg-type]  # bytes.join takes views
        if last:
            self._end = False
            self.local_closed = True
        return size

    def widen(self, increment: int) -> bool:
        """The peer takes so many bytes more; False where that is more than a window may be."""
        self.send_window += increment
        return increment > 0 and self.send_window <= LARGEST
