"""Who is the parent of a running container: a lock that its parent holds as long as it lives.

The kernel lets go of the lock when the parent ends, however it ends. So a waiter sleeps in fcntl(2)
instead of polling, and a container whose lock is free has nobody who will record its exit. The
locks are open file description locks: unlike flock(2)'s they can be asked about without taking them.
"""

from __future__ import annotations

import fcntl
import os
from _struct import pack, unpack

from cloche.errors import FailedPrecondition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_NAME = "parent.lock"
_FLOCK = "hhqqi4x"


class Ownership:
    """Being the parent of one container. Context manager; `release` may be called more than once."""

    def __init__(self, directory: str) -> None:
        """directory: the container's run directory, which is made.

        Raises FailedPrecondition where another process is the parent already.
        """
        os.makedirs(directory, 0o700, exist_ok=True)
        self.directory = directory
        self._descriptor = os.open(f"{directory}/{_NAME}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take()
        except BaseException:
            self.release()
            raise

    def _take(self) -> None:
        while True:
            try:
                _lock(self._descriptor, fcntl.F_OFD_SETLK, fcntl.F_WRLCK)
            except (BlockingIOError, PermissionError):
                holder = _holder(self._descriptor)
                if holder == fcntl.F_WRLCK:
                    raise FailedPrecondition("the container is starting or running already") from None
                if holder == fcntl.F_RDLCK:
                    # A waiter that has just woken up lets go at once.
                    _lock(self._descriptor, fcntl.F_OFD_SETLKW, fcntl.F_WRLCK)
                    return
            else:
                return

    def fileno(self) -> int:
        """The descriptor that holds the lock; a process that inherits it holds the lock too."""
        return self._descriptor

    def __enter__(self) -> Ownership:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Let waiters go on."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def held(directory: str) -> bool:
    """Whether a living process is the parent."""
    descriptor = _open(directory)
    if descriptor < 0:
        return False
    try:
        return _holder(descriptor) == fcntl.F_WRLCK
    finally:
        os.close(descriptor)


def wait(directory: str) -> None:
    """Sleep until no process is the parent; returns at once where none is."""
    descriptor = _open(directory)
    if descriptor < 0:
        return
    try:
        _lock(descriptor, fcntl.F_OFD_SETLKW, fcntl.F_RDLCK)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, command: int, kind: int) -> None:
    fcntl.fcntl(descriptor, command, pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0))


def _holder(descriptor: int) -> int:
    """The kind of lock that keeps a write lock away: F_WRLCK, F_RDLCK or F_UNLCK."""
    asked = pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked)
    kind: int = unpack(_FLOCK, answer)[0]
    return kind


def _open(directory: str) -> int:
    try:
        return os.open(f"{directory}/{_NAME}", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return -1
