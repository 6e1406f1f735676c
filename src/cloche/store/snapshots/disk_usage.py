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
    top = _Anchor(os.open(path, _DIRECTORY))
    status = os.fstat(top.descriptor)
    seen = {(status.st_dev, status.st_ino)}
    size = status.st_blocks * 512
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
                size += _entry(entry, seen)
                if entry.is_dir(follow_symlinks=False):
                    left.append((anchor, f"{relative}/{entry.name}"))
    return Usage(size, len(seen))


class _Anchor:
    """An open directory that others are opened from, closed with the last of them."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


def _entry(entry: os.DirEntry[str], seen: set[tuple[int, int]]) -> int:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return 0
    if (status.st_dev, status.st_ino) in seen:
        return 0
    seen.add((status.st_dev, status.st_ino))
    return status.st_blocks * 512


def _open(directory: int, path: str) -> int:
    return openat2(directory, path, _DIRECTORY, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
