"""A process's input from a client's fifo.

The shim holds a writing end of the fifo until CloseIO, so that a client may leave and another one
come: only after CloseIO does the last writer's leaving end the input.
"""

from __future__ import annotations

import os
import stat

from cloche.errors import InvalidArgument
from cloche.shim.stdio.pump import Pump, unread
from cloche.shim.stdio.sinks import unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.shim.loop import Loop, Timer
    from cloche.shim.stdio.pump import Sink

# How long after CloseIO a client may keep its own end open without writing.
_LINGER_S = 1.0


def open_fifo(path: str) -> tuple[int, int]:
    """Both ends of a client's fifo, to read and to hold; (-1, -1) for a file that is no fifo.

    Never waits. Raises NotFound where there is nothing.
    """
    try:
        if not stat.S_ISFIFO(os.stat(path).st_mode):
            return -1, -1
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        reading = os.open(path, os.O_RDONLY | flags)
        try:
            if not stat.S_ISFIFO(os.fstat(reading).st_mode):
                raise InvalidArgument(f"stdio {path!r}: it was a fifo a moment ago")
            return reading, os.open(f"/proc/self/fd/{reading}", os.O_WRONLY | flags)
        except BaseException:
            os.close(reading)
            raise
    except OSError as error:
        raise unusable(path, error) from None


def open_input_file(path: str) -> int:
    """A file to read, whatever it is. Never waits."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise unusable(path, error) from None
    os.set_blocking(descriptor, True)
    return descriptor


class Input:
    """From a fifo to a process. Owns the ends of the fifo, and the sink."""

    def __init__(self, loop: Loop, ends: tuple[int, int], sink: Sink, *, ended: Callable[[], None]) -> None:
        """ends: as of `open_fifo`. ended: called when all was handed on and the input is over, or when
        nobody reads it any more.
        """
        reading, self._held = ends
        self._loop = loop
        self._timer: Timer | None = None
        self.pump = Pump(loop, reading, sink, ended=self._over)
        self._ended = ended

    def close_soon(self) -> None:
        """CloseIO: end when all that was written is handed on.

        That is when every client has closed its end; or when one that has not is silent.
        """
        if self._held >= 0:
            os.close(self._held)
            self._held = -1
            self._look_later()

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(_LINGER_S, self._look)

    def _look(self) -> None:
        if self.pump.over:
            return
        if unread(self.pump.source):
            self._look_later()
        else:
            self.pump.end()

    def _over(self) -> None:
        self._release()
        self._ended()

    def _release(self) -> None:
        if self._held >= 0:
            os.close(self._held)
            self._held = -1
        if self._timer is not None:
            self._timer.cancel()

    def close(self) -> None:
        """Stop at once: the process has ended."""
        self._release()
        self.pump.close()
