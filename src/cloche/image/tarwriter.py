"""Writing tar archives as streams: ustar where it is enough, pax records where it is not.

The same entries in the same order give the same bytes: nothing of the machine or the moment enters.
"""

from __future__ import annotations

from cloche.image.tarentry import BLOCK, FILE, SYMLINK, Entry
from cloche.image.tarfields import NANOSECONDS, SCHILY_XATTR, pax_record, time_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PADDINGS = [bytes(-count % BLOCK) for count in range(BLOCK)]
_END = bytes(2 * BLOCK)
_ID_LIMIT = 0o7777777
_SIZE_LIMIT = 0o77777777777
_PAX_KIND = b"x"
_PAX_NAME = b"././@PaxHeader"


class Writer:
    """One archive being written.

    write: takes each piece of bytes in turn. The caller gives every entry first and then exactly
    its stored bytes; close() ends the archive.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._left = 0
        self._size = 0

    def add(self, entry: Entry, contents: bytes | None = None) -> None:
        """Write an entry's headers, and its bytes when they are given here.

        Without contents the caller writes entry.size bytes with write(). Sparse entries are not
        written as such: their size is that of the whole file.
        """
        if self._left:
            raise ValueError(f"{self._left} bytes of the entry before {entry.name!r} were not written")
        if contents is not None:
            entry.size = len(contents)
        self._size = self._left = entry.size
        self._write(headers(entry))
        if contents:
            self.write(contents)

    def write(self, data: bytes | memoryview) -> None:
        """Write some of the current entry's bytes; the last piece is padded."""
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("more bytes than the entry's size")
        self._write(data)  # type: ignore[arg-type]  # files take any buffer
        if not self._left and (padding := _PADDINGS[self._size % BLOCK]):
            self._write(padding)

    def close(self) -> None:
        """Write the end of the archive."""
        if self._left:
            raise ValueError(f"{self._left} bytes of the last entry were not written")
        self._write(_END)


def headers(entry: Entry) -> bytes:
    """All header blocks of one entry: a pax header first where the ustar one cannot hold it."""
    records = _records(entry)
    prefix, name = _split(entry.name)
    block = _header(entry, prefix, name, entry.kind, entry.size)
    if not records:
        return block
    data = b"".join(pax_record(keyword, value) for keyword, value in sorted(records.items()))
    pax = Entry(_PAX_NAME, _PAX_KIND)
    return _header(pax, b"", _PAX_NAME, _PAX_KIND, len(data)) + data + _PADDINGS[len(data) % BLOCK] + block


def _records(entry: Entry) -> dict[bytes, bytes]:
    """What the ustar header cannot say about an entry."""
    records: dict[bytes, bytes] = {}
    if not _split(entry.name)[1]:
        records[b"path"] = entry.name
    if len(entry.link) > 100:
        records[b"linkpath"] = entry.link
    if entry.uid > _ID_LIMIT:
        records[b"uid"] = b"%d" % entry.uid
    if entry.gid > _ID_LIMIT:
        records[b"gid"] = b"%d" % entry.gid
    if entry.size > _SIZE_LIMIT:
        records[b"size"] = b"%d" % entry.size
    if entry.mtime_ns % NANOSECONDS or not 0 <= entry.mtime_ns // NANOSECONDS <= _SIZE_LIMIT:
        records[b"mtime"] = time_text(entry.mtime_ns)
    if entry.atime_ns is not None:
        records[b"atime"] = time_text(entry.atime_ns)
    for name, value in (entry.xattrs or {}).items():
        records[SCHILY_XATTR + name] = value
    return records


def _split(name: bytes) -> tuple[bytes, bytes]:
    """A path as ustar's prefix and name; the name is empty when it does not fit.

    Names beyond ASCII go into a pax record as well: ustar does not say their encoding.
    """
    if not name.isascii() or not name:
        return b"", b""
    if len(name) <= 100:
        return b"", name
    cut = name.find(b"/", max(len(name) - 101, 1))
    if cut < 0 or cut > 155 or cut == len(name) - 1:
        return b"", b""
    return name[:cut], name[cut + 1 :]


def _header(entry: Entry, prefix: bytes, name: bytes, kind: bytes, size: int) -> bytes:
    """One ustar header with its checksum; fields that do not fit are cut or zero (pax has them)."""
    seconds = entry.mtime_ns // NANOSECONDS
    block = b"".join(
        (
            (name or entry.name[:100]).ljust(100, b"\0"),
            b"%07o\0%07o\0" % (entry.mode & 0o7777, entry.uid if entry.uid <= _ID_LIMIT else 0),
            b"%07o\0" % (entry.gid if entry.gid <= _ID_LIMIT else 0),
            b"%011o\0" % (size if size <= _SIZE_LIMIT else 0),
            b"%011o\0" % (seconds if 0 <= seconds <= _SIZE_LIMIT else 0),
            b"        ",
            kind,
            entry.link[:100].ljust(100, b"\0"),
            b"ustar\x0000",
            bytes(64),
            b"%07o\0%07o\0" % (entry.major & _ID_LIMIT, entry.minor & _ID_LIMIT),
            prefix.ljust(167, b"\0"),
        )
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def regular(name: bytes, size: int, *, mode: int = 0o644, mtime_ns: int = 0) -> Entry:
    """An entry for a regular file owned by root."""
    entry = Entry(name, FILE, mode)
    entry.size = size
    entry.mtime_ns = mtime_ns
    return entry


def symlink(name: bytes, target: bytes, *, mtime_ns: int = 0) -> Entry:
    """An entry for a symbolic link owned by root."""
    entry = Entry(name, SYMLINK, 0o777)
    entry.link = target
    entry.mtime_ns = mtime_ns
    return entry
