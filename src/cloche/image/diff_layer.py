"""A difference between two trees as a layer: what was added and changed, and whiteouts for the rest."""

from __future__ import annotations

import os
import stat

from cloche.errors import InvalidArgument
from cloche.image import tarentry
from cloche.image.diff import DELETED
from cloche.image.layertree import WHITEOUT_PREFIX
from cloche.image.tarentry import Entry
from cloche.image.tarwriter import Writer, regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.image.diff import Difference, Tree

_CHUNK_BYTES = 1 << 20
_ATTRIBUTES = ("security.capability", "user.")


def write_layer(difference: Difference, write: Callable[[bytes], object]) -> None:
    """Write the layer as an uncompressed tar, sorted by path; sockets are left out.

    Files that change while they are read have the length they began with.
    """
    archive = Writer(write)
    links: dict[tuple[int, int], bytes] = {}
    for change in difference.changes():
        path = change.path.lstrip("/")
        if change.kind == DELETED:
            head, slash, base = os.fsencode(path).rpartition(b"/")
            archive.add(regular(head + slash + WHITEOUT_PREFIX + base, 0, mode=0))
        else:
            _write_entry(difference.upper, path, archive, links)
    archive.close()


def _write_entry(tree: Tree, path: str, archive: Writer, links: dict[tuple[int, int], bytes]) -> None:
    found = tree.stat(path)
    kind = tarentry.KIND_OF_FILE.get(stat.S_IFMT(found.st_mode)) if found is not None else None
    if found is None or kind is None:
        return
    name = os.fsencode(path)
    if os.path.basename(name).startswith(WHITEOUT_PREFIX):
        raise InvalidArgument(f"/{path}: names that begin with .wh. cannot be in a layer")
    entry = Entry(
        name + b"/" if kind == tarentry.DIRECTORY else name,
        kind,
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
    )
    entry.mtime_ns = found.st_mtime_ns
    identity = (found.st_dev, found.st_ino)
    if found.st_nlink > 1 and kind != tarentry.DIRECTORY and identity in links:
        entry.kind, entry.link = tarentry.HARDLINK, links[identity]
        archive.add(entry)
        return
    links[identity] = name
    entry.xattrs = _attributes(tree, path) if kind != tarentry.SYMLINK else None
    if kind == tarentry.SYMLINK:
        entry.link = _target(tree, path)
    elif kind in (tarentry.CHARACTER, tarentry.BLOCK_DEVICE):
        entry.major, entry.minor = os.major(found.st_rdev), os.minor(found.st_rdev)
    if kind == tarentry.FILE:
        _write_file(tree, path, entry, archive)
    else:
        archive.add(entry)


def _target(tree: Tree, path: str) -> bytes:
    fd = tree.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        return os.readlink(b"", dir_fd=fd)
    finally:
        os.close(fd)


def _attributes(tree: Tree, path: str) -> dict[bytes, bytes] | None:
    fd = tree.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        place = f"/proc/self/fd/{fd}"
        names = [name for name in os.listxattr(place) if name.startswith(_ATTRIBUTES)]
        return {os.fsencode(name): os.getxattr(place, name) for name in names} or None
    except OSError:
        return None
    finally:
        os.close(fd)


def _write_file(tree: Tree, path: str, entry: Entry, archive: Writer) -> None:
    """Write a file of the size it has when it is opened: shorter ones are filled, longer ones cut."""
    fd = tree.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return
        entry.size = left = found.st_size
        archive.add(entry)
        while left:
            data = os.read(fd, min(left, _CHUNK_BYTES)) or bytes(min(left, _CHUNK_BYTES))
            archive.write(data)
            left -= len(data)
    finally:
        os.close(fd)
