"""What one side of an HTTP/2 connection promises to take, and what it will not put up with."""

from __future__ import annotations

from cloche.spec.record import Record
from cloche.wire import http2_frames as frames
from cloche.wire.http2_frames import ConnectionFailure
from cloche.wire.http2_headers import LIST_LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BURST = 2000
REFILL_PER_S = 1000


class Limits(Record):
    """What we take.

    streams: at once. stream_window, connection_window: bytes that a peer may send before it hears
    that they were consumed. The connection's is given back at once, so that a reader that is slow
    holds up its own stream only. frame_size: of one frame's payload.
    """

    streams: int = 1 << 14
    stream_window: int = 1 << 20
    connection_window: int = 16 << 20
    frame_size: int = frames.DEFAULT_FRAME_SIZE

    def settings(self, *, client: bool) -> list[tuple[int, int]]:
        """The SETTINGS that say so."""
        push_or_streams = (frames.ENABLE_PUSH, 0) if client else (frames.MAX_CONCURRENT_STREAMS, self.streams)
        return [
            push_or_streams,
            (frames.INITIAL_WINDOW_SIZE, self.stream_window),
            (frames.MAX_FRAME_SIZE, self.frame_size),
            (frames.MAX_HEADER_LIST_SIZE, LIST_LIMIT),
        ]


class PeerSettings:
    """What the peer takes."""

    def __init__(self) -> None:
        self.initial_window = frames.DEFAULT_WINDOW
        self.frame_size = frames.DEFAULT_FRAME_SIZE
        self.streams = frames.LARGEST_STREAM

    def update(self, settings: Iterable[tuple[int, int]], *, client: bool) -> None:
        """Take over what a SETTINGS frame says. Raises ConnectionFailure for values that cannot be.

        client: whether we are the client, who may not be told to take pushes.
        """
        for name, value in settings:
            if name == frames.INITIAL_WINDOW_SIZE:
                if value > frames.LARGEST_WINDOW:
                    raise ConnectionFailure(frames.FLOW_CONTROL_ERROR, "an initial window above 2^31-1")
                self.initial_window = value
            elif name == frames.MAX_FRAME_SIZE:
                if not frames.DEFAULT_FRAME_SIZE <= value <= frames.LARGEST_FRAME_SIZE:
                    raise ConnectionFailure(frames.PROTOCOL_ERROR, f"frames of {value} bytes")
                self.frame_size = min(value, 1 << 18)
            elif name == frames.MAX_CONCURRENT_STREAMS:
                self.streams = value
            elif name == frames.ENABLE_PUSH and value > (0 if client else 1):
                raise ConnectionFailure(frames.PROTOCOL_ERROR, "push is neither on nor off")


class Budget:
    """How much work a peer may make that asks for nothing: a bucket of tokens that fills up again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tokens: float = BURST
        self._filled = clock()

    def spend(self, tokens: float = 1) -> None:
        """Raises ConnectionFailure where none are left."""
        self._tokens -= tokens
        if self._tokens >= 0:
            return
        now = self._clock()
        self._tokens = min(BURST, self._tokens + (now - self._filled) * REFILL_PER_S)
        self._filled = now
        if self._tokens < 0:
            raise ConnectionFailure(frames.ENHANCE_YOUR_CALM, "too much that asks for nothing")
