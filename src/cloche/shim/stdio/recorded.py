"""The sink that reads: for output that is logged, or shown to those who are attached.

It looks at a pipe's content (tee(2)) before it takes it, and takes only what is in the log. The
beginning of a line stays in the pipe, so that this process holds nothing that its death would lose.
"""

from __future__ import annotations

import os

from cloche.kernel.syscalls import tee
from cloche.shim.stdio.pump import hung_up, nobody

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.shim.lanes import Lane
    from cloche.shim.loop import Loop, Timer
    from cloche.shim.stdio.audience import Audience
    from cloche.shim.stdio.logfile import LogFile

_CHUNK = 1 << 16
# How long the beginning of a line (a prompt) waits for more, at least, until it is logged without.
_PATIENCE_S = 0.7


class RecordedSink:
    """One stream's output, to a log and an audience. resume: makes the pump look again; to be set."""

    descriptor = -1
    partial = True

    def __init__(self, loop: Loop, stream: str, log: LogFile | None, audience: Audience) -> None:
        """stream: "stdout" or "stderr". log: borrowed, since both streams may have the same."""
        self.resume = nobody
        self._loop = loop
        self._stream = stream
        self._log = log
        self._audience = audience
        self._rest = b""
        self._source = -1
        self._timer: Timer | None = None
        self._busy = self._changed = False
        self._copy, self._copying = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def take(self, source: int) -> int:
        """Log and show what is new; returns how much that was."""
        if self._busy or self._audience.blocked():
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
        if self._log is not None and self._log.lane is not None:
            self._write_beside(self._log, self._log.lane, data)
            raise BlockingIOError
        self._taken(data, len(data) if self._log is None else self._log.write(self._stream, data))
        return fresh

    def _taken(self, data: bytes, count: int) -> None:
        """So much of the data is in the log."""
        self._consume(count)
        self._rest = data[count:]
        self._changed = True
        self._look_later()

    def _write_beside(self, log: LogFile, lane: Lane, data: bytes) -> None:
        self._busy = True
        # What is shown already is not shown again, though it is still in the pipe.
        self._rest = data

        def written(count: int | None, _error: BaseException | None) -> None:
            self._busy = False
            if self._copy >= 0:
                self._taken(data, count or 0)
                self.resume()

        lane.run(lambda: log.write(self._stream, data), written)

    def _consume(self, count: int) -> None:
        while count:
            count -= len(os.read(self._source, count))

    def _look_later(self) -> None:
        # One timer, however often the rest changes.
        if self._rest and self._timer is None:
            self._timer = self._loop.call_later(_PATIENCE_S, self._look)

    def _look(self) -> None:
        """Log the beginning of a line that has not changed since the last look."""
        self._timer = None
        if self._busy:
            return
        if self._changed:
            self._changed = False
            self._look_later()
        else:
            self._flush()
            self.resume()

    def _flush(self) -> None:
        """Log the beginning of a line, and take it."""
        rest, self._rest = self._rest, b""
        if rest:
            self._log_rest(rest)
            self._consume(len(rest))

    def _log_rest(self, rest: bytes) -> None:
        log = self._log
        if log is None:
            return
        if log.lane is None:
            log.write_rest(self._stream, rest)
        else:
            log.lane.run(lambda: log.write_rest(self._stream, rest), _ignored)

    def make_room(self, source: int) -> bool:
        """A log has room; those who are attached take what they want."""
        return False

    def end(self) -> None:
        """Log what is left."""
        if self._rest and not self._busy:
            self._log_rest(self._rest)
        self.close()

    def close(self) -> None:
        """Let go of everything."""
        self._rest = b""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._copy >= 0:
            os.close(self._copy)
            os.close(self._copying)
            self._copy = self._copying = -1


def _ignored(_result: object, _error: BaseException | None) -> None:
    """Writing to a log tells nothing."""
