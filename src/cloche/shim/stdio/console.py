"""A container's terminal: the master of a pty, on its way to and from the clients."""

from __future__ import annotations

import fcntl
import os
from _struct import pack

from cloche.shim.stdio.sinks import PipeSink

_TIOCSWINSZ, _TCGETS = 0x5414, 0x5401
_TERMIOS_BYTES = 60
# struct termios of the kernel: four flag words, the line discipline, then the control characters.
_LOCAL_FLAGS, _CHARACTERS = 12, 17
_ICANON, _VEOF = 2, 4


def resize(master: int, width: int, height: int) -> None:
    """Tell the programs on a terminal how large it is, in characters; more than 65535 is 65535."""
    size = (max(0, min(number, 0xFFFF)) for number in (height, width))
    fcntl.ioctl(master, _TIOCSWINSZ, pack("HHHH", *size, 0, 0))


class ConsoleSink(PipeSink):
    """What is typed."""

    def end(self) -> None:
        """Type what ends input where programs read whole lines (control-D as a rule), and close.

        In raw mode nothing is typed: it would be a character like any other.
        """
        try:
            settings = fcntl.ioctl(self.descriptor, _TCGETS, bytes(_TERMIOS_BYTES))
            if int.from_bytes(settings[_LOCAL_FLAGS : _LOCAL_FLAGS + 4], "little") & _ICANON:
                os.write(self.descriptor, settings[_CHARACTERS + _VEOF : _CHARACTERS + _VEOF + 1])
        except OSError:
            # EIO: nobody has the terminal open. EAGAIN: nobody reads what was typed before.
            pass
        super().end()
