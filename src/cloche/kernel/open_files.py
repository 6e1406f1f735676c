"""Who has a file open, and for what: the other ends of pipes and fifos, and holders of locks.

No file is asked anything itself (stat of one on a dead server never returns), but for those whose
name and inode already fit.
"""

from __future__ import annotations

import os

from cloche.kernel import threads
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Opened(Record):
    """A descriptor of a process. target: what it leads to, as the kernel words it.

    access: os.O_RDONLY, O_WRONLY or O_RDWR. mount: the mount's id; inode: 0 where the kernel does not
    tell. locks: the lines about locks that it holds. notes: what the driver behind it adds.
    """

    pid: int
    descriptor: int
    target: str
    access: int
    mount: int
    inode: int
    locks: tuple[str, ...]
    notes: dict[str, str]

    @property
    def reads(self) -> bool:
        """Whether one can read through it."""
        return self.access in (os.O_RDONLY, os.O_RDWR)

    @property
    def writes(self) -> bool:
        """Whether one can write through it."""
        return self.access in (os.O_WRONLY, os.O_RDWR)


def opened(pid: int, descriptor: int) -> Opened | None:
    """One descriptor of a process; None when it is closed, or not ours to see."""
    try:
        target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
        return parse_fdinfo(pid, descriptor, target, threads.read(f"/proc/{pid}/fdinfo/{descriptor}"))
    except (OSError, ValueError):
        return None


def parse_fdinfo(pid: int, descriptor: int, target: str, text: bytes) -> Opened:
    """A descriptor from its link and its /proc/PID/fdinfo file. Raises ValueError for what is none."""
    notes: dict[str, str] = {}
    locks = []
    for line in text.decode(errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == "lock":
            locks.append(value.strip())
        else:
            notes[name.strip()] = value.strip()
    if "flags" not in notes:
        raise ValueError(f"not a /proc/PID/fdinfo: {text!r}")
    access = int(notes["flags"], 8) & os.O_ACCMODE
    mount, inode = int(notes.get("mnt_id", "0")), int(notes.get("ino", "0"))
    return Opened(pid, descriptor, target, access, mount, inode, tuple(locks), notes)


def descriptors(pid: int) -> Iterator[Opened]:
    """Everything a process has open; nothing when it is gone or not ours to see."""
    try:
        numbers = sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return
    for number in numbers:
        if (one := opened(pid, number)) is not None:
            yield one


def others(of: Opened) -> list[Opened]:
    """Every descriptor of the machine for the same pipe or fifo, `of` among them."""
    name = of.target.rpartition("/")[2]
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            found += [
                one
                for one in _named(int(entry), name)
                if one.target == of.target or (one.inode == of.inode and of.inode)
            ]
    return found


def _named(pid: int, name: str) -> Iterator[Opened]:
    """A process's descriptors whose link ends with a name: the rest of the path depends on who looks."""
    try:
        numbers = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for number in numbers:
        try:
            target = os.readlink(f"/proc/{pid}/fd/{number}")
        except OSError:
            continue
        if target.rpartition("/")[2] == name and (one := opened(pid, int(number))) is not None:
            yield one
