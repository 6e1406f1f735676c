"""Terminals: raw mode, window sizes, and a person's terminal joined to a container's console."""

from __future__ import annotations

import fcntl
import os
import sys
import termios

from cloche.kernel.streams import Flow, pump

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from types import FrameType
    from typing import Any
else:
    import _signal  # `signal` imports enum


class RawMode:
    """Every key goes through unchanged for as long as a `with` block lasts; no terminal, no effect."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._before: list[Any] | None = None

    def __enter__(self) -> RawMode:
        if os.isatty(self._terminal):
            self._before = termios.tcgetattr(self._terminal)
            termios.tcsetattr(self._terminal, termios.TCSADRAIN, raw(self._before))
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._before)
            self._before = None


def raw(attributes: list[Any]) -> list[Any]:
    """Terminal attributes (of tcgetattr) with everything off that cfmakeraw(3) turns off."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, characters = attributes
    iflag &= ~(
        termios.IGNBRK
        | termios.BRKINT
        | termios.PARMRK
        | termios.ISTRIP
        | termios.INLCR
        | termios.IGNCR
        | termios.ICRNL
        | termios.IXON
    )
    oflag &= ~termios.OPOST
    cflag = (cflag & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    characters = list(characters)
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    return [iflag, oflag, cflag, lflag, ispeed, ospeed, characters]


def window_size(terminal: int) -> tuple[int, int]:
    """Rows and columns of a terminal; (0, 0) when the descriptor is none."""
    try:
        packed = fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return 0, 0
    return int.from_bytes(packed[0:2], sys.byteorder), int.from_bytes(packed[2:4], sys.byteorder)


def set_window_size(terminal: int, rows: int, columns: int) -> None:
    """Give a terminal (the master will do) its size; its foreground processes get SIGWINCH."""
    words = (rows, columns, 0, 0)
    packed = b"".join(max(0, min(word, 65535)).to_bytes(2, sys.byteorder) for word in words)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, packed)


class Resizes:
    """A descriptor that becomes readable whenever this process gets SIGWINCH, in a `with` block.

    Python delivers signals to the main thread only; in another one nothing is ever reported.
    """

    def __init__(self) -> None:
        self.descriptor, self._write_end = -1, -1
        self._handler: Any = None
        self._wakeup = -1

    def __enter__(self) -> Resizes:
        self.descriptor, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._handler = _signal.signal(_signal.SIGWINCH, self._noticed)
            self._wakeup = _signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        except ValueError:  # not the main thread
            self._handler = None
        return self

    def _noticed(self, _number: int, _frame: FrameType | None) -> None:
        """The wakeup descriptor has been written to already, which is all that is needed."""

    def __exit__(self, *_: object) -> None:
        if self._handler is not None:
            _signal.set_wakeup_fd(self._wakeup)
            _signal.signal(_signal.SIGWINCH, self._handler)
        os.close(self.descriptor)
        os.close(self._write_end)

    def take(self) -> None:
        """Forget what was reported so far."""
        try:
            os.read(self.descriptor, 4096)
        except BlockingIOError:
            pass


def join(
    console: int,
    *,
    stdin: int | None = 0,
    stdout: int = 1,
    until: int | None = None,
    change: Callable[[bytes], bytes] | None = None,
) -> None:
    """Join a terminal to a container's console until the console ends.

    console: the pty's master, which becomes non-blocking. stdin: None to send nothing.
    until: a pidfd; when its process has ended, what was printed is still copied and then it is over.
    change: sees what is typed before the console does (for detach keys).
    The terminal is raw meanwhile, and the console follows its size.
    """
    terminal = next((fd for fd in (stdin, stdout) if fd is not None and os.isatty(fd)), None)
    os.set_blocking(console, False)

    def resize() -> None:
        resizes.take()
        follow(terminal, console)

    flows = [Flow(console, stdout, output=True)]
    if stdin is not None:
        flows.append(Flow(stdin, console, change=change))
    with RawMode(-1 if stdin is None else stdin), Resizes() as resizes:
        follow(terminal, console)
        pump(flows, until=until, watch={resizes.descriptor: resize})


def follow(terminal: int | None, console: int) -> None:
    """Give the console the terminal's size, where there is a terminal and it has one."""
    rows, columns = window_size(terminal) if terminal is not None else (0, 0)
    if rows and columns:
        set_window_size(console, rows, columns)
