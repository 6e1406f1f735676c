"""Reading /proc/PID/mountinfo: the mounts of a mount namespace, in the order they were made."""

from __future__ import annotations

from cloche import os
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OCTAL = frozenset(b"01234567")
_BACKSLASH = 0x5C


class MountInfo(Record):
    """One line of mountinfo; see proc_pid_mountinfo(5).

    root: the directory of the file system that is mounted; optional: `shared:N`, `master:N`, ….
    """

    id: int
    parent: int
    device: str
    root: str
    point: str
    options: tuple[str, ...]
    optional: tuple[str, ...]
    type: str
    source: str
    super_options: tuple[str, ...]


def unescape(text: bytes) -> str:
    """A path as it is, from mountinfo's form, where blanks and backslashes are three octal digits."""
    if _BACKSLASH not in text:
        return os.fsdecode(text)
    out = bytearray()
    at = 0
    while at < len(text):
        digits = text[at + 1 : at + 4]
        if text[at] == _BACKSLASH and len(digits) == 3 and _OCTAL.issuperset(digits):
            out.append(int(digits, 8) & 0xFF)
            at += 4
        else:
            out.append(text[at])
            at += 1
    return os.fsdecode(bytes(out))


def parse(text: bytes, *, containing: bytes = b"") -> Iterator[MountInfo]:
    """Every line of a mountinfo file that has the bytes `containing` in it.

    Raises ValueError, quoting the line, for one that mountinfo cannot have.
    """
    for line in text.split(b"\n"):
        if line and containing in line:
            yield _line(line)


def _line(line: bytes) -> MountInfo:
    before, dash, after = line.partition(b" - ")
    fields, rest = before.split(b" "), after.split(b" ")
    if not dash or len(fields) < 6 or len(rest) < 3:
        raise ValueError(f"not a line of mountinfo: {line!r}")
    return MountInfo(
        int(fields[0]),
        int(fields[1]),
        os.fsdecode(fields[2]),
        unescape(fields[3]),
        unescape(fields[4]),
        tuple(os.fsdecode(fields[5]).split(",")),
        tuple(os.fsdecode(field) for field in fields[6:]),
        unescape(rest[0]),
        unescape(rest[1]),
        tuple(unescape(option) for option in rest[2].split(b",")),
    )


def mounts(process: int | str = "self", *, containing: bytes = b"") -> list[MountInfo]:
    """The mounts that a process sees; `containing` leaves out lines without those bytes."""
    with open(f"/proc/{process}/mountinfo", "rb", buffering=0) as file:
        return list(parse(file.readall(), containing=containing))
