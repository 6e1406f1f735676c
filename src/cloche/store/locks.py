"""Locks on files, that end with their holder however it ends, and can be looked at without taking.

They are the kernel's open file description locks: one belongs to whoever opened the file (not to
the whole process), and is gone when that descriptor is closed.
"""

from __future__ import annotations

import os
from fcntl import fcntl

_GET_LOCK, _SET_LOCK = 36, 37  # F_OFD_GETLK and F_OFD_SETLK, which Python's own builds may lack
# struct flock for the whole file: type F_WRLCK, everything else zero.
_WRITE_LOCK = b"\1" + bytes(31)
_UNLOCKED = 2


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open, writable file; False when another opener has it."""
    try:
        fcntl(descriptor, _SET_LOCK, _WRITE_LOCK)
    except (BlockingIOError, PermissionError):
        return False
    return True


def is_locked(path: str) -> bool:
    """Whether somebody has the lock of the file at a path; False when there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        return fcntl(descriptor, _GET_LOCK, _WRITE_LOCK)[0] != _UNLOCKED
    finally:
        os.close(descriptor)


def claim(path: str) -> int | None:
    """Make the file if need be and take its lock; returns its descriptor, or None when it is taken.

    Whoever has the lock may remove the file, so a lock on a file that is no longer there does
    not count. Raises FileNotFoundError where the directory is missing.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        locked = try_lock(descriptor)
        if locked and _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)
        if not locked:
            return None


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
