"""Where a pump's bytes go: a client's fifo, a pipe, a terminal, a file, or nowhere.

Between pipes and terminals splice(2) moves pages and not one byte comes through this process.
"""

from __future__ import annotations

import fcntl
import os
import stat

from cloche.errors import ClocheError, FailedPrecondition, NotFound, PermissionDenied
from cloche.shim.stdio.pump import hung_up, nobody, unread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.shim.stdio.pump import Sink

_SPLICE = 1 | 2  # SPLICE_F_MOVE, SPLICE_F_NONBLOCK
_LONGEST = 1 << 20
_CHUNK = 1 << 16


class PipeSink:
    """The writing end of a pipe, or the master of a pty."""

    partial = False

    def __init__(self, descriptor: int) -> None:
        """descriptor: owned from now on."""
        self.resume = nobody
        self.descriptor = descriptor
        os.set_blocking(descriptor, False)

    def take(self, source: int) -> int:
        """Move pages. Raises BrokenPipeError when nobody can ever read them."""
        return os.splice(source, self.descriptor, _LONGEST, flags=_SPLICE)

    def make_room(self, source: int) -> bool:
        """Never: the reader lives, and takes what it wants."""
        return False

    def end(self) -> None:
        """Close it: the reader finds the end of file behind all that was moved."""
        self.close()

    def close(self) -> None:
        """Close it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class FifoSink(PipeSink):
    """A client's fifo, open on both sides.

    While it is, no client that goes away makes the container's program get SIGPIPE, none that is
    late makes anything wait, and what was written stays for the next one to read.
    """

    def __init__(self, descriptor: int) -> None:
        """descriptor: opened with O_RDWR, which never waits for the other side; owned."""
        super().__init__(descriptor)
        self._unclaimed = self._unread = -1
        self._grown = False

    def make_room(self, source: int) -> bool:
        """Make the fifo larger by all that a pipe can hold: nobody has to wait for a slow reader."""
        if self._grown:
            return False
        self._grown = True
        more = _capacity(source)
        try:
            fcntl.fcntl(self.descriptor, fcntl.F_SETPIPE_SZ, _capacity(self.descriptor) + more)
        except OSError:
            # EPERM: beyond /proc/sys/fs/pipe-max-size, or the user's share, without privilege.
            return False
        return True

    def end(self) -> None:
        """No more comes; what is left stays until it was read, or until `close`.

        Where nobody has it open for reading it stays open for writing: a late reader's open(2) waits
        for a writer. Where somebody has, it is closed for writing, so that the end of file is found,
        and kept only to see whether the rest is being read.
        """
        if self.descriptor >= 0:
            if unread(self.descriptor):
                try:
                    self._unclaimed = _reopen(self.descriptor, os.O_WRONLY)
                except OSError:
                    # EMFILE: who reads now still gets all of it.
                    pass
            super().close()
            self.settle()

    def settle(self) -> bool:
        """After `end`: whether all that was left has been read; nothing is open any more then."""
        if self._unclaimed >= 0 and not hung_up(self._unclaimed):
            try:
                self._unread = _reopen(self._unclaimed, os.O_RDONLY)
            except OSError:
                # EMFILE: it is somebody's, which has to do.
                pass
            os.close(self._unclaimed)
            self._unclaimed = -1
        if self._unread >= 0 and not unread(self._unread):
            os.close(self._unread)
            self._unread = -1
        return self._unclaimed < 0 and self._unread < 0

    def close(self) -> None:
        """Close it; what nobody came for is gone."""
        super().close()
        for descriptor in (self._unclaimed, self._unread):
            if descriptor >= 0:
                os.close(descriptor)
        self._unclaimed = self._unread = -1


def _capacity(descriptor: int) -> int:
    try:
        return fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)
    except OSError:
        # A terminal; its buffers are smaller than this.
        return _CHUNK


class FileSink:
    """A file that takes everything at once. When it cannot (a full disk), the lines are lost."""

    descriptor = -1
    partial = False

    def __init__(self, descriptor: int) -> None:
        """descriptor: opened with O_APPEND; owned."""
        self.resume = nobody
        self._file = descriptor

    @property
    def file(self) -> int:
        """Its descriptor; borrowed."""
        return self._file

    def take(self, source: int) -> int:
        """Append. (splice(2) refuses files that were opened for appending.)"""
        data = os.read(source, _CHUNK)
        rest = data
        while rest:
            try:
                rest = rest[os.write(self._file, rest) :]
            except OSError:
                break
        return len(data)

    def make_room(self, source: int) -> bool:
        """There is always room."""
        return False

    def end(self) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class NullSink:
    """For output that nobody can have any more."""

    descriptor = -1
    partial = False

    def __init__(self) -> None:
        self.resume = nobody

    def take(self, source: int) -> int:
        """Throw it away. (splice(2) cannot, from a terminal.)"""
        return len(os.read(source, _CHUNK))

    def make_room(self, source: int) -> bool:
        """There is always room."""
        return True

    def end(self) -> None:
        """Nothing is open."""

    def close(self) -> None:
        """Nothing is open."""


def open_path(path: str) -> Sink:
    """The sink at a path that a client gave: its fifo, or any file, which is appended to.

    Never waits. Raises NotFound where there is nothing: it is the client who makes the fifo.
    """
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            # Through the handle, so that what is opened is what was looked at.
            if stat.S_ISFIFO(os.fstat(handle).st_mode):
                return FifoSink(_reopen(handle, os.O_RDWR))
            return FileSink(_reopen(handle, os.O_WRONLY | os.O_APPEND))
        finally:
            os.close(handle)
    except OSError as error:
        raise unusable(path, error) from None


def open_file(path: str) -> FileSink:
    """The sink for file://: made, with its parents, and appended to."""
    try:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return FileSink(os.open(path, flags, 0o644))
    except OSError as error:
        raise unusable(path, error) from None


def _reopen(handle: int, mode: int) -> int:
    return os.open(f"/proc/self/fd/{handle}", mode | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def unusable(path: str, error: OSError) -> ClocheError:
    """What to say of a path that cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return NotFound(f"stdio {path!r}: there is no such file; whoever reads a fifo makes it first")
    if isinstance(error, PermissionError):
        return PermissionDenied(f"stdio {path!r}: {os.strerror(error.errno or 0)}")
    return FailedPrecondition(f"stdio {path!r}: {os.strerror(error.errno or 0)}")
