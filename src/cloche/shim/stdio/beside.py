"""Writing that may hang: on a filesystem whose server has gone away, no write ever returns.

It is done on a lane, so that the loop goes on serving everybody. Local filesystems, which are nearly
all, are written to at once: a thread costs more than the write.
"""

from __future__ import annotations

import os

from cloche.kernel.mountinfo import parse
from cloche.shim.lanes import Lane
from cloche.shim.stdio.pump import nobody

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.shim.loop import Loop
    from cloche.shim.stdio.sinks import FileSink

# Those of the filesystems without a block device below them that answer by themselves.
_LOCAL = frozenset(("tmpfs", "ramfs", "overlay", "btrfs", "zfs", "bcachefs", "devtmpfs", "hugetlbfs"))


def may_hang(descriptor: int) -> bool:
    """Whether writing to an open file waits for a server: FUSE, NFS, 9p and their like."""
    device = os.fstat(descriptor).st_dev
    if os.major(device):
        return False
    name = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", "rb", buffering=0) as file:
            mounts = parse(file.read(), containing=name.encode())
            types = {mount.type for mount in mounts if mount.device == name}
    except (OSError, ValueError):
        return False
    return bool(types) and not types & _LOCAL


class BesideSink:
    """A file that is written to on a lane. resume: makes the pump look again; to be set."""

    descriptor = -1
    partial = True

    def __init__(self, loop: Loop, file: FileSink) -> None:
        """file: owned from now on."""
        self.resume = nobody
        self._lane = Lane(loop)
        self._file = file
        self._source = -1
        self._busy = self._missed = False
        self._over = self._closed = False

    @property
    def file(self) -> int:
        """Its descriptor; borrowed."""
        return self._file.file

    def take(self, source: int) -> int:
        """Let the lane take some. Always raises BlockingIOError, but at the end."""
        if self._over:
            return 0
        if self._busy:
            self._missed = True
            raise BlockingIOError
        if self._source < 0:
            # The pump may close its own at any time, also while a write hangs.
            self._source = os.dup(source)
        self._busy = True
        self._lane.run(lambda: self._file.take(self._source), self._taken)
        raise BlockingIOError

    def _taken(self, count: int | None, error: BaseException | None) -> None:
        self._busy = False
        missed, self._missed = self._missed, False
        if self._closed:
            self._let_go()
        elif error is None or missed or not isinstance(error, BlockingIOError):
            # EIO: a terminal that nobody has open any more has ended.
            self._over = count == 0 or not (error is None or isinstance(error, BlockingIOError))
            self.resume()

    def make_room(self, source: int) -> bool:
        """The lane takes what it can."""
        return False

    def end(self) -> None:
        """Close it when what is being written is written."""
        self.close()

    def close(self) -> None:
        """Close it when what is being written is written, which may be never."""
        self._closed = True
        if not self._busy:
            self._let_go()

    def _let_go(self) -> None:
        # Closing may hang as well as writing.
        self._lane.run(self._file.close, _ignored)
        if self._source >= 0:
            os.close(self._source)
            self._source = -1


def _ignored(_result: object, _error: BaseException | None) -> None:
    """What came of closing a file is nobody's business."""
