"""What `ps` shows of a process that was forked and never executed anything."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_ARGUMENTS_START, _ARGUMENTS_END = 45, 46  # fields of /proc/PID/stat, counted after the name
_SHORT_NAME_BYTES = 15


def set_title(words: Sequence[str]) -> None:
    """Show these words as the command line and the first of them, cut to 15 bytes, as the name.

    What does not fit into the place of the first command line is cut off. Where the kernel lets
    nobody write into /proc/PID/mem, the old words stay.
    """
    try:
        with open("/proc/self/comm", "wb", buffering=0) as name:
            name.write(words[0].encode()[:_SHORT_NAME_BYTES])
        with open("/proc/self/stat", "rb", buffering=0) as file:
            fields = file.readall().rpartition(b")")[2].split()
        start, end = int(fields[_ARGUMENTS_START]), int(fields[_ARGUMENTS_END])
        text = b"\0".join(os.fsencode(word) for word in words)[: end - start - 1]
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            memory.write(text.ljust(end - start, b"\0"))
    except (OSError, OverflowError):
        pass
