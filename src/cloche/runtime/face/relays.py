"""Pipes between this command's standard streams and those of a process it stands in front of.

A process in a container gets to own its standard streams: init gives them to its user, and it may
open them again through /dev/stdout, with truncation. And a terminal that it held could be made to
type commands. So a file or a terminal of the caller's never goes inside; what is read and written
passes through a pipe. Pipes, sockets and /dev/null, which lend themselves to none of this, go
inside as they are, and nothing is in between.
"""

from __future__ import annotations

import stat

from cloche import os

_NULL = os.makedev(1, 3)


def _is_personal(descriptor: int) -> bool:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    if stat.S_ISCHR(status.st_mode):
        return status.st_rdev != _NULL
    return not (stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode))


class Relays:
    """The pipes that are needed; a context manager that closes them.

    stdio: what the process is to be started with. wanted: False makes it this command's own streams
    (the process has a pty, or nobody stays to relay anything).
    """

    __slots__ = ("_inside", "_outside", "stdio")

    def __init__(self, *, wanted: bool) -> None:
        self._inside: list[int] = []
        self._outside: dict[int, int] = {}
        self.stdio = (0, 1, 2)
        if wanted:
            self.stdio = (self._end(0), self._end(1), self._end(2))

    def _end(self, descriptor: int) -> int:
        if not _is_personal(descriptor):
            return descriptor
        reading, writing = os.pipe2(os.O_CLOEXEC)
        theirs, ours = (reading, writing) if descriptor == 0 else (writing, reading)
        self._inside.append(theirs)
        self._outside[descriptor] = ours
        return theirs

    def carry(self, until: int) -> None:
        """Relay until the process behind a pidfd has ended and all it wrote has been passed on."""
        for descriptor in self._inside:
            os.close(descriptor)
        self._inside.clear()
        if not self._outside:
            return
        from cloche.kernel.streams import Flow, pump

        flows = [Flow(self._outside[fd], fd, output=True) for fd in (1, 2) if fd in self._outside]
        if 0 in self._outside:
            flows.append(Flow(0, self._outside[0], on_end=self._end_of_input))
        pump(flows, until=until)

    def _end_of_input(self) -> None:
        os.close(self._outside.pop(0))

    def __enter__(self) -> Relays:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in (*self._inside, *self._outside.values()):
            os.close(descriptor)
        self._inside.clear()
        self._outside.clear()
