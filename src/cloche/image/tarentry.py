"""One member of a tar archive as a value, and the limits an archive has to keep."""

from __future__ import annotations

import stat

from cloche.image import tarfields
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.image.tarsparse import Map

BLOCK = 512
FILE = b"0"
HARDLINK = b"1"
SYMLINK = b"2"
CHARACTER = b"3"
BLOCK_DEVICE = b"4"
DIRECTORY = b"5"
FIFO = b"6"

KIND_OF_FILE = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK_DEVICE,
    stat.S_IFIFO: FIFO,
}
"""By the format bits of st_mode. Archives have no sockets."""


class Limits(Record):
    """What an archive may ask for.

    name_bytes: longest path or link target; header_bytes: longest extended header;
    entries: most entries in one archive.
    """

    name_bytes: int = 4096
    header_bytes: int = 1 << 20
    entries: int = 10_000_000


class Entry:
    """One member of an archive, as its headers describe it.

    kind is one of this module's constants (FILE to FIFO). Names and link targets are bytes as
    stored. size is the length of the file; stored that of its bytes in the archive, which differs
    when sparse is a map of (offset, length). Times are nanoseconds; atime_ns is None when not told.
    """

    __slots__ = (
        "atime_ns", "gid", "kind", "link", "major", "minor", "mode",
        "mtime_ns", "name", "size", "sparse", "stored", "uid", "xattrs",
    )  # fmt: skip

    def __init__(self, name: bytes, kind: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        self.name = name
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = 0
        self.stored = 0
        self.mtime_ns = 0
        self.atime_ns: int | None = None
        self.link = b""
        self.major = 0
        self.minor = 0
        self.xattrs: dict[bytes, bytes] | None = None
        self.sparse: Map | None = None


def shown(name: bytes) -> str:
    """A name for a message: readable, one line, of bounded length."""
    text = name[:160].decode(errors="backslashreplace")
    if len(name) > 160:
        text += "…"
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text) or "(no name)"


def _set_path(entry: Entry, value: bytes) -> None:
    entry.name = value


def _set_link(entry: Entry, value: bytes) -> None:
    entry.link = value


def _set_size(entry: Entry, value: bytes) -> None:
    entry.size = entry.stored = tarfields.decimal(value)


def _set_uid(entry: Entry, value: bytes) -> None:
    entry.uid = tarfields.decimal(value)


def _set_gid(entry: Entry, value: bytes) -> None:
    entry.gid = tarfields.decimal(value)


def _set_mtime(entry: Entry, value: bytes) -> None:
    entry.mtime_ns = tarfields.time_ns(value)


def _set_atime(entry: Entry, value: bytes) -> None:
    entry.atime_ns = tarfields.time_ns(value)


# Keywords of extended headers that replace a field of the header itself.
OVERRIDES: dict[bytes, Callable[[Entry, bytes], None]] = {
    b"path": _set_path,
    b"linkpath": _set_link,
    b"size": _set_size,
    b"uid": _set_uid,
    b"gid": _set_gid,
    b"mtime": _set_mtime,
    b"atime": _set_atime,
}
