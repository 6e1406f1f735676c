"""Files of this machine into and out of tar archives, for `cp`.

What comes out of a container is not trusted: it is unpacked through a directory descriptor that
nothing in the archive can lead out of, links included.
"""

from __future__ import annotations

import os
import stat

from cloche.image import tarentry
from cloche.image.extract import Extractor
from cloche.image.tarentry import Entry
from cloche.image.tarstream import Reader
from cloche.image.tarwriter import Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK = 1 << 20


def pack(path: str, name: str, write: Callable[[bytes], object], *, owners: bool) -> None:
    """Write an archive of a file or tree, whose top is called `name`; "" for its contents alone.

    owners: keep user and group ids; without it everything is root's. Sockets are left out.
    Raises OSError for what cannot be read.
    """
    packer = _Packer(Writer(write), owners=owners)
    if name:
        packer.add(path, os.fsencode(name))
    else:
        packer.add_children(path, b"")
    packer.close()


class _Packer:
    def __init__(self, writer: Writer, *, owners: bool) -> None:
        self._writer = writer
        self._owners = owners
        self._links: dict[tuple[int, int], bytes] = {}

    def close(self) -> None:
        self._writer.close()

    def add_children(self, path: str, place: bytes) -> None:
        for child in sorted(os.listdir(path)):
            inner = os.fsencode(child)
            self.add(f"{path}/{child}", place + b"/" + inner if place else inner)

    def add(self, path: str, place: bytes) -> None:
        found = os.lstat(path)
        kind = tarentry.KIND_OF_FILE.get(stat.S_IFMT(found.st_mode))
        if kind is None:
            return
        owner = (found.st_uid, found.st_gid) if self._owners else (0, 0)
        entry = Entry(place, kind, stat.S_IMODE(found.st_mode), *owner)
        entry.mtime_ns = found.st_mtime_ns
        identity = (found.st_dev, found.st_ino)
        if kind == tarentry.FILE and found.st_nlink > 1 and identity in self._links:
            entry.kind, entry.link = tarentry.HARDLINK, self._links[identity]
            self._writer.add(entry)
        elif kind == tarentry.FILE:
            self._links[identity] = place
            self._add_file(path, entry)
        else:
            self._add_other(path, entry, found)

    def _add_other(self, path: str, entry: Entry, found: os.stat_result) -> None:
        place = entry.name
        if entry.kind == tarentry.SYMLINK:
            entry.link = os.fsencode(os.readlink(path))
        if entry.kind == tarentry.DIRECTORY:
            entry.name = place + b"/"
        entry.major, entry.minor = os.major(found.st_rdev), os.minor(found.st_rdev)
        self._writer.add(entry)
        if entry.kind == tarentry.DIRECTORY:
            self.add_children(path, place)

    def _add_file(self, path: str, entry: Entry) -> None:
        with open(path, "rb", buffering=0) as file:
            entry.size = left = os.fstat(file.fileno()).st_size
            self._writer.add(entry)
            while left:
                # A file that shrinks meanwhile is filled up: its size is in the archive already.
                data = file.read(min(left, _CHUNK)) or bytes(min(left, _CHUNK))
                self._writer.write(data)
                left -= len(data)


def unpack(parts: Iterator[bytes], directory: str, name: str, *, owners: bool) -> None:
    """Unpack an archive with one top entry into a directory, calling that entry `name`.

    name: "" puts what is in the top entry, a directory, into the directory itself. owners: keep user
    and group ids; without it everything is this user's. Raises errors of cloche.errors.
    """
    reader = _Renaming(lambda _: next(parts, b""), os.fsencode(name), owners=owners)
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        Extractor(root, archive="files of the container").extract(reader)
    finally:
        os.close(root)


class _Renaming(Reader):
    """An archive whose top entry has another name, and whose entries may all be one user's."""

    def __init__(self, read: Callable[[int], bytes], name: bytes, *, owners: bool) -> None:
        super().__init__(read, archive="files of the container")
        self._top = name
        self._keeps_owners = owners

    def next(self) -> Entry | None:
        """The next entry, renamed."""
        entry = super().next()
        if entry is None:
            return None
        entry.name = self._renamed(entry.name)
        if entry.kind == tarentry.HARDLINK:
            entry.link = self._renamed(entry.link)
        if not self._keeps_owners:
            entry.uid, entry.gid = os.geteuid(), os.getegid()
        return entry

    def _renamed(self, name: bytes) -> bytes:
        rest = name.partition(b"/")[2]
        if not self._top:
            return rest or b"./"
        return self._top + b"/" + rest if rest or name.endswith(b"/") else self._top
