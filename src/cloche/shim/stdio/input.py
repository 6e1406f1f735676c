"""A process's input from a client's fifo.

The shim holds a writing end of the fifo until CloseIO, so that a client may leave and another one
come: only after CloseIO does the last writer's leaving end the input.
"""

from __future__ import annotations

import os
import stat

from cloche.shim.stdio.pump import Pump, unread
from cloche.shim.stdio.sinks import unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.shim.loop import Loop, Timer
    from cloche.shim.stdio.pump import Sink

# How long after CloseIO a client may keep its own end open without writing.
_LINGER_S = 1.0
# When to try again after descriptors had run out.
_RETRY_S = 1.0


def find_fifo(path: str) -> int:
    """A handle (O_PATH) of a client's fifo, through which nobody reads yet; -1 for another file.

    Raises NotFound where there is nothing.
    """
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise unusable(path, error) from None
    if stat.S_ISFIFO(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    return -1


def open_input_file(path: str) -> int:
    """A file to read, whatever it is. Never waits."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise unusable(path, error) from None
    os.set_blocking(descriptor, True)
    return descriptor


class Input:
    """From a fifo to a process. Owns the ends of the fifo, and the sink.

    A client's open(2), and what it writes, wait for `open`. It should not come too early: clients
    that are done with writing before they know of a task forget to say CloseIO.
    """

    def __init__(self, loop: Loop, handle: int, sink: Sink, *, ended: Callable[[], None]) -> None:
        """handle: of `find_fifo`; owned. ended: called when all was handed on and the input is over, or
        when nobody reads it any more.
        """
        self._loop = loop
        self._handle = handle
        self._held = -1
        self._sink = sink
        self._pump: Pump | None = None
        self._timer: Timer | None = None
        self._closing = False
        self._ended = ended

    def open_later(self, delay_s: float) -> None:
        """Open it after some time, or with `open`."""
        if self._handle >= 0 and self._timer is None:
            self._timer = self._loop.call_later(delay_s, self.open)

    def open(self) -> None:
        """Let clients write, and begin to move. Never waits for one."""
        if self._handle < 0:
            return
        self._forget_timer()
        path, flags = f"/proc/self/fd/{self._handle}", os.O_NONBLOCK | os.O_CLOEXEC
        reading = -1
        try:
            reading = os.open(path, os.O_RDONLY | flags)
            self._held = os.open(path, os.O_WRONLY | flags)
        except OSError:
            # EMFILE: clients wait with us.
            if reading >= 0:
                os.close(reading)
            self.open_later(_RETRY_S)
            return
        os.close(self._handle)
        self._handle = -1
        self._pump = Pump(self._loop, reading, self._sink, ended=self._over)
        self._pump.start()
        if self._closing:
            self.close_soon()

    @property
    def is_closing(self) -> bool:
        """Whether its end is awaited."""
        return self._closing and self.target >= 0

    @property
    def target(self) -> int:
        """Where it goes; -1 when it is over. Borrowed."""
        return self._sink.descriptor

    @property
    def held(self) -> tuple[int, ...]:
        """What keeps the fifo, as long as it is not over: a handle, or both ends. Borrowed."""
        ends = (self._handle, self._held, self._pump.source if self._pump and not self._pump.over else -1)
        return tuple(end for end in ends if end >= 0)

    def close_soon(self) -> None:
        """CloseIO: end when all that was written is handed on.

        That is when every client has closed its end; or when one that has not is silent.
        """
        self._closing = True
        self.open()
        if self._held >= 0:
            os.close(self._held)
            self._held = -1
            self._look_later()

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(_LINGER_S, self._look)

    def _look(self) -> None:
        if self._pump is None or self._pump.over:
            return
        if unread(self._pump.source):
            self._look_later()
        else:
            self._pump.end()

    def _over(self) -> None:
        self._release()
        self._ended()

    def _release(self) -> None:
        for descriptor in (self._handle, self._held):
            if descriptor >= 0:
                os.close(descriptor)
        self._handle = self._held = -1
        self._forget_timer()

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Stop at once: the process has ended."""
        self._release()
        if self._pump is not None:
            self._pump.close()
        self._sink.close()
