"""Who has a database open: SQLite's own locks tell, whatever program it is."""

from __future__ import annotations

import os
from _struct import pack, unpack
from fcntl import fcntl

_F_GETLK, _WRITE, _UNLOCKED = 36, 1, 2  # F_OFD_GETLK: it also sees what this process has
_FLOCK = "hhqqi4x"
# Every connection in WAL mode holds a shared lock on this byte of PATH-shm as long as it is open.
_OPEN_BYTE = 128


def is_open(path: str) -> bool:
    """Whether any process, this one included, has the database at a path open."""
    try:
        descriptor = os.open(path + "-shm", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        answer = fcntl(descriptor, _F_GETLK, pack(_FLOCK, _WRITE, 0, _OPEN_BYTE, 1, 0))
    finally:
        os.close(descriptor)
    return bool(unpack(_FLOCK, answer)[0] != _UNLOCKED)
