"""Opening a path below a directory through no symbolic link at all.

For trees that others may change meanwhile: a name that became a link since it was listed is an
error (ELOOP or ENOTDIR), not another file.
"""

from __future__ import annotations

import os
from errno import ENAMETOOLONG, ENOSYS, EPERM

from cloche.kernel import syscalls

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RESOLVE = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS


def open_beneath(root: int, path: bytes, flags: int = DIRECTORY) -> int:
    """Open what is really at `path` (relative, without ".."; empty for the root itself).

    Paths longer than the kernel takes at once, and kernels or filters without openat2, are walked
    one component at a time. Raises OSError as open(2) does.
    """
    try:
        return syscalls.openat2(root, path or b".", flags, resolve=_RESOLVE)
    except OSError as error:
        if error.errno not in (ENAMETOOLONG, ENOSYS, EPERM):
            raise
    return walk_beneath(root, path, flags)


def walk_beneath(root: int, path: bytes, flags: int = DIRECTORY) -> int:
    """`open_beneath` without openat2(2)."""
    *parents, last = path.split(b"/")
    directory = os.dup(root)
    try:
        for part in parents:
            following = os.open(part, _STEP, dir_fd=directory)
            os.close(directory)
            directory = following
        return os.open(last or b".", flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    finally:
        os.close(directory)
