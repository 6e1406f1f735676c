"""Trees on their way out: moved aside by one rename, deleted when there is time.

Deleting never leaves the tree: a symlink is removed and not followed, a mount that somebody left
in it is not entered (what is mounted there belongs to someone else), and a tree deeper than any
path or descriptor limit is taken apart piece by piece.
"""

from __future__ import annotations

import errno
import os

from cloche.kernel.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2

_DEPTH = 64
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


def discard(path: str, trash: str) -> None:
    """Move a tree into the trash directory, which is made if need be; a missing tree is no error."""
    target = f"{trash}/{os.path.basename(path)}-{os.urandom(4).hex()}"
    try:
        os.rename(path, target)
    except FileNotFoundError:
        if not os.path.lexists(path):
            return
        os.makedirs(trash, mode=0o700, exist_ok=True)
        os.rename(path, target)


def empty(trash: str) -> int:
    """Delete all that is in the trash; returns how many trees could not go, being in use.

    Several processes may do so at once.
    """
    try:
        top = os.open(trash, _DIRECTORY)
    except FileNotFoundError:
        return 0
    try:
        stuck: set[str] = set()
        # Pieces of trees that are too deep come back as new entries.
        while names := set(os.listdir(top)) - stuck:
            stuck |= {name for name in names if not _remove(top, name, top, 0)}
        return len(stuck)
    finally:
        os.close(top)


def _remove(directory: int, name: str, top: int, depth: int) -> bool:
    """Remove one entry of a directory with all below it; False when something had to stay."""
    try:
        os.unlink(name, dir_fd=directory)
        return True
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EISDIR:
            return False
    if depth > _DEPTH:
        return _move_up(directory, name, top)
    try:
        _empty_directory(directory, name, top, depth)
        os.rmdir(name, dir_fd=directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _empty_directory(directory: int, name: str, top: int, depth: int) -> None:
    descriptor = _open(directory, name)
    try:
        for entry in os.listdir(descriptor):
            _remove(descriptor, entry, top, depth + 1)
    finally:
        os.close(descriptor)


def _move_up(directory: int, name: str, top: int) -> bool:
    try:
        os.rename(name, f"deep-{os.urandom(8).hex()}", src_dir_fd=directory, dst_dir_fd=top)
    except OSError:
        return False
    return True


def _open(directory: int, name: str) -> int:
    try:
        return _open_beneath(directory, name)
    except PermissionError:
        # Without privileges the mode counts, and it is ours to change.
        os.chmod(name, 0o700, dir_fd=directory)
        return _open_beneath(directory, name)


def _open_beneath(directory: int, name: str) -> int:
    resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH
    try:
        return openat2(directory, name, _DIRECTORY, resolve=resolve)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
    descriptor = os.open(name, _DIRECTORY, dir_fd=directory)
    if os.fstat(descriptor).st_dev != os.fstat(directory).st_dev:
        os.close(descriptor)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
    return descriptor
