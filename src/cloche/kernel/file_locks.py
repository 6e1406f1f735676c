"""Reading /proc/locks: who holds file locks, and who waits for them."""

from __future__ import annotations

from cloche.kernel import threads
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class FileLock(Record):
    """A lock that is held, and the processes that wait for it.

    kind: FLOCK, POSIX, OFDLCK or LEASE. exclusive: whether it keeps readers out too. pid: the holder's,
    -1 for a lock of an open file, which any process with a copy of the descriptor holds.
    device, inode: of the file; waiting: pids, in the order in which they came.
    """

    kind: str
    exclusive: bool
    pid: int
    device: tuple[int, int]
    inode: int
    waiting: tuple[int, ...]


def parse(text: bytes) -> Iterator[FileLock]:
    """The locks of a /proc/locks file. Raises ValueError, quoting the line, for what cannot be one.

    Who waits is listed below the lock he waits for, behind an arrow that grows with the queue.
    """
    held: list[str] = []
    waiting: list[int] = []
    for line in text.decode(errors="replace").splitlines():
        words = line.split()
        arrow = len(words) > 1 and words[1].endswith("->")
        fields = words[2:] if arrow else words[1:]
        if len(fields) < 7:
            raise ValueError(f"not a line of /proc/locks: {line!r}")
        if arrow:
            waiting.append(int(fields[3]))
            continue
        if held:
            yield _lock(held, waiting)
        held, waiting = fields, []
    if held:
        yield _lock(held, waiting)


def _lock(fields: list[str], waiting: list[int]) -> FileLock:
    major, minor, inode = fields[4].split(":")
    device = int(major, 16), int(minor, 16)
    return FileLock(fields[0], fields[2] == "WRITE", int(fields[3]), device, int(inode), tuple(waiting))


def file_locks() -> list[FileLock]:
    """All locks of the machine that this process may see."""
    return list(parse(threads.read("/proc/locks")))
