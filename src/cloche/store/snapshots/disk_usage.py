"""What a tree takes on disk."""

from __future__ import annotations

import os

from cloche.store.snapshots.rows import Usage

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


def disk_usage(path: str) -> Usage:
    """Bytes (blocks, as du counts them) and inodes of a tree, itself included.

    A file with several links counts once. What vanishes meanwhile does not count.
    """
    top = os.open(path, _DIRECTORY)
    status = os.fstat(top)
    seen = {(status.st_dev, status.st_ino)}
    try:
        size = status.st_blocks * 512 + _below(top, seen)
    finally:
        os.close(top)
    return Usage(size, len(seen))


def _below(directory: int, seen: set[tuple[int, int]]) -> int:
    size = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
                size += status.st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    size += _enter(directory, entry.name, seen)
            except FileNotFoundError:
                continue
    return size


def _enter(directory: int, name: str, seen: set[tuple[int, int]]) -> int:
    descriptor = os.open(name, _DIRECTORY, dir_fd=directory)
    try:
        return _below(descriptor, seen)
    finally:
        os.close(descriptor)
