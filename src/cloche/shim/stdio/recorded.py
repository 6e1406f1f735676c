"""The sink that reads: for output that is logged, or shown to those who are attached.

It looks at a pipe's content (tee(2)) before it takes it, and takes only what is in the log. The
beginning of a line stays in the pipe, so that this process holds nothing that its death would lose.
"""

from __future__ import annotations

import os

from cloche.kernel.syscalls import tee
from cloche.shim.stdio.pump import hung_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.shim.loop import Loop, Timer
    from cloche.shim.stdio.audience import Audience
    from cloche.shim.stdio.logfile import LogFile

_CHUNK = 1 << 16
# When the beginning of a line (a prompt) is logged without its end.
_PATIENCE_S = 1.0


class RecordedSink:
    """One stream's output, to a log and an audience. resume: makes the pump look again; to be set."""

    descriptor = -1
    partial = True

    def __init__(self, loop: Loop, stream: str, log: LogFile | None, audience: Audience) -> None:
        """stream: "stdout" or "stderr". log: borrowed, since both streams may have the same."""
        self.resume: Callable[[], None] = _not_yet
        self._loop = loop
        self._stream = stream
        self._log = log
        self._audience = audience
        self._rest = b""
        self._source = -1
        self._timer: Timer | None = None
        self._copy, self._copying = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def take(self, source: int) -> int:
        """Log and show what is new; returns how much that was."""
        if self._audience.blocked():
            raise BlockingIOError
        self._source = source
        count = tee(source, self._copying, _CHUNK)
        data = os.read(self._copy, count) if count else b""
        fresh = len(data) - len(self._rest)
        if not data:
            return 0
        if fresh <= 0:
            if not hung_up(source):
                raise BlockingIOError
            self._flush()
            return len(data)
        self._audience.deliver(self._stream, data[-fresh:])
        taken = len(data) if self._log is None else self._log.write(self._stream, data)
        self._consume(taken)
        self._rest = data[taken:]
        self._flush_later()
        return fresh

    def _consume(self, count: int) -> None:
        while count:
            count -= len(os.read(self._source, count))

    def _flush_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._rest:
            self._timer = self._loop.call_later(_PATIENCE_S, self._flush)

    def _flush(self) -> None:
        """Log the beginning of a line, and take it."""
        rest, self._rest = self._rest, b""
        self._flush_later()
        if rest:
            self._log_rest(rest)
            self._consume(len(rest))
            self.resume()

    def _log_rest(self, rest: bytes) -> None:
        if self._log is not None:
            self._log.write_rest(self._stream, rest)

    def make_room(self, source: int) -> bool:
        """A log has room; those who are attached take what they want."""
        return False

    def end(self) -> None:
        """Log what is left."""
        if self._rest:
            self._log_rest(self._rest)
        self.close()

    def close(self) -> None:
        """Let go of everything."""
        self._rest = b""
        self._flush_later()
        if self._copy >= 0:
            os.close(self._copy)
            os.close(self._copying)
            self._copy = self._copying = -1


def _not_yet() -> None:
    """There is no pump yet that could go on."""
