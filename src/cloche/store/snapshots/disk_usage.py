"""What a tree takes on disk."""

from __future__ import annotations

import os

from cloche.kernel.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from cloche.store.snapshots.rows import Usage

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_PATH_LIMIT = 3000


def disk_usage(path: str) -> Usage:
    """Bytes (blocks, as du counts them) and inodes of a tree, itself included.

    A file with several links counts once. What vanishes meanwhile does not count; the tree may be
    in use by a container, deeper than any path, and no symlink in it is followed.
    """
    seen: set[tuple[int, int]] = set()
    return Usage(_walk(path, seen), len(seen))


def add_usage(path: str, seen: set[tuple[int, int]]) -> int:
    """The bytes of a file or a tree, without those in `seen`, where its own are added (device, inode).

    What is mounted in the tree does not count; a missing path has none.
    """
    try:
        return _walk(path, seen, one_device=True)
    except FileNotFoundError:
        return 0
    except NotADirectoryError:
        return _count(os.stat(path, follow_symlinks=False), seen)


def _walk(path: str, seen: set[tuple[int, int]], *, one_device: bool = False) -> int:
    top = _Anchor(os.open(path, _DIRECTORY))
    status = os.fstat(top.descriptor)
    device = status.st_dev if one_device else None
    size = _count(status, seen)
    left = [(top, ".")]
    while left:
        anchor, relative = left.pop()
        try:
            directory = _Anchor(_open(anchor.descriptor, relative))
        except OSError:
            continue
        if len(relative) > _PATH_LIMIT:
            anchor, relative = directory, "."
        with os.scandir(directory.descriptor) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if device is not None and status.st_dev != device:
                    continue
                size += _count(status, seen)
                if entry.is_dir(follow_symlinks=False):
                    left.append((anchor, f"{relative}/{entry.name}"))
    return size


class _Anchor:
    """An open directory that others are opened from, closed with the last of them."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


def _count(status: os.stat_result, seen: set[tuple[int, int]]) -> int:
    if (status.st_dev, status.st_ino) in seen:
        return 0
    seen.add((status.st_dev, status.st_ino))
    return status.st_blocks * 512


def _open(directory: int, path: str) -> int:
    return openat2(directory, path, _DIRECTORY, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
