"""Files into and out of containers as tar archives, the running ones included.

A container may be hostile while it is copied from: every path is resolved inside its root
directory by the kernel, and what is found is read through the descriptor that was looked at.
"""

from __future__ import annotations

import os
import stat

from cloche.engine.rootfs import Root
from cloche.errors import InvalidArgument, NotFound
from cloche.image import tarentry
from cloche.image.tarentry import Entry
from cloche.image.tarwriter import Writer
from cloche.kernel.paths import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

    from cloche.engine.context import Context
    from cloche.store.containers import Container

_CHUNK = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def stat_path(context: Context, row: Container, path: str) -> dict[str, Any]:
    """See `Container.stat_path`. A final link is not followed."""
    with Root(context, row) as root:
        parent, name = _parent(root, path)
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            target = os.readlink(name, dir_fd=parent) if stat.S_ISLNK(found.st_mode) else ""
        except FileNotFoundError:
            raise _missing(row, path) from None
        finally:
            os.close(parent)
    return {
        "name": os.path.basename(path.rstrip("/")) or "/",
        "size": found.st_size,
        "mode": found.st_mode,
        "mtime_ns": found.st_mtime_ns,
        "linkTarget": target,
    }


def copy_out(context: Context, row: Container, path: str, *, whole: bool = False) -> Iterator[bytes]:
    """See `Container.copy_out`. The archive's top entry is the path's last name.

    whole: everything below the path, named from there, on this file system only (an export).
    """
    with Root(context, row) as root:
        parent, name = _parent(root, path)
        try:
            if whole:
                yield from _Archive(one_file_system=True).children(parent, name, b"")
            else:
                try:
                    os.stat(name, dir_fd=parent, follow_symlinks=False)
                except FileNotFoundError:
                    raise _missing(row, path) from None
                top = os.fsencode(os.path.basename(path.rstrip("/")) or ".")
                yield from _Archive(one_file_system=False).everything(parent, name, top)
        finally:
            os.close(parent)


def copy_in(context: Context, row: Container, path: str, archive: BinaryIO) -> None:
    """See `Container.copy_in`."""
    from cloche.image import layer

    with Root(context, row) as root:
        try:
            target = open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            raise _missing(row, path) from None
        except NotADirectoryError:
            raise InvalidArgument(f"{path}: is no directory of container {row.name or row.id}") from None
        try:
            layer.apply(archive, target, whiteouts="none", layer="the archive")
        finally:
            os.close(target)


def _missing(row: Container, path: str) -> NotFound:
    return NotFound(f"could not find the file {path} in container {row.name or row.id}")


def _parent(root: int, path: str) -> tuple[int, str]:
    """The directory that a path's last name is in, opened, and that name."""
    clean = os.path.normpath("/" + path)
    directory, name = os.path.split(clean)
    try:
        return open_in_root(root, directory, os.O_RDONLY | os.O_DIRECTORY), name or "."
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"{path}: no such file or directory in the container") from None


class _Archive:
    """Writes entries as they are met, and gives out the bytes of each."""

    def __init__(self, *, one_file_system: bool) -> None:
        self._parts: list[bytes] = []
        self._writer = Writer(lambda data: self._parts.append(bytes(data)))
        self._links: dict[tuple[int, int], bytes] = {}
        self._one_file_system = one_file_system
        self._device = 0

    def everything(self, parent: int, name: str, place: bytes) -> Iterator[bytes]:
        """The archive of one path."""
        yield from self._add(parent, name, place)
        yield from self._end()

    def children(self, parent: int, name: str, place: bytes) -> Iterator[bytes]:
        """The archive of what is in a directory."""
        directory = os.open(name, _DIRECTORY, dir_fd=parent)
        try:
            self._device = os.fstat(directory).st_dev
            yield from self._inside(directory, place)
        finally:
            os.close(directory)
        yield from self._end()

    def _end(self) -> Iterator[bytes]:
        self._writer.close()
        yield from self._flush()

    def _flush(self) -> Iterator[bytes]:
        data = b"".join(self._parts)
        self._parts.clear()
        if data:
            yield data

    def _add(self, parent: int, name: str, place: bytes) -> Iterator[bytes]:
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        kind = tarentry.KIND_OF_FILE.get(stat.S_IFMT(found.st_mode))
        if kind is None:
            return
        entry = Entry(place, kind, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)
        entry.mtime_ns = found.st_mtime_ns
        if kind == tarentry.DIRECTORY:
            yield from self._add_directory(parent, name, place, entry, found)
        elif kind == tarentry.FILE:
            yield from self._add_file(parent, name, entry, found)
        else:
            if kind == tarentry.SYMLINK:
                entry.link = os.fsencode(os.readlink(name, dir_fd=parent))
            entry.major, entry.minor = os.major(found.st_rdev), os.minor(found.st_rdev)
            self._writer.add(entry)
            yield from self._flush()

    def _add_directory(
        self, parent: int, name: str, place: bytes, entry: Entry, found: os.stat_result
    ) -> Iterator[bytes]:
        entry.name = place + b"/"
        self._writer.add(entry)
        yield from self._flush()
        if self._one_file_system and found.st_dev != self._device:
            return
        try:
            directory = os.open(name, _DIRECTORY, dir_fd=parent)
        except OSError:
            return
        try:
            yield from self._inside(directory, place)
        finally:
            os.close(directory)

    def _inside(self, directory: int, place: bytes) -> Iterator[bytes]:
        for name in sorted(os.listdir(directory)):
            inner = os.fsencode(name)
            yield from self._add(directory, name, place + b"/" + inner if place else inner)

    def _add_file(self, parent: int, name: str, entry: Entry, found: os.stat_result) -> Iterator[bytes]:
        identity = (found.st_dev, found.st_ino)
        if found.st_nlink > 1 and identity in self._links:
            entry.kind, entry.link = tarentry.HARDLINK, self._links[identity]
            self._writer.add(entry)
            yield from self._flush()
            return
        try:
            # Not blocking: a fifo may have taken the file's place meanwhile.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            file = os.open(name, flags, dir_fd=parent)
        except OSError:
            return
        try:
            opened = os.fstat(file)
            if not stat.S_ISREG(opened.st_mode):
                return
            self._links[identity] = entry.name
            entry.size = left = opened.st_size
            self._writer.add(entry)
            while left:
                # A file that shrinks while it is read is filled up: its header is out already.
                data = os.read(file, min(left, _CHUNK)) or bytes(min(left, _CHUNK))
                self._writer.write(data)
                left -= len(data)
                yield from self._flush()
        finally:
            os.close(file)
        yield from self._flush()
