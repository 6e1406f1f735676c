"""The root filesystem at bundle/rootfs, for runtimes that need to see it in the mount table.

As containerd's own shim does it. The mounts are made detached first, so that one which fails
leaves nothing, and what is seen is attached in one step.
"""

from __future__ import annotations

import errno
import os

from cloche.errors import FailedPrecondition
from cloche.kernel.mounts import assemble
from cloche.kernel.syscalls import AT_FDCWD, MNT_DETACH, move_mount, umount2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.spec.mount import Mount

_UMOUNT_NOFOLLOW = 8


def mount_rootfs(bundle: str, mounts: Sequence[Mount]) -> None:
    """Mount at bundle/rootfs, which is made if it is missing; without mounts nothing happens.

    Raises FailedPrecondition with the kernel's words, and leaves nothing mounted.
    """
    if not mounts:
        return
    place = rootfs_of(bundle)
    try:
        os.makedirs(place, 0o711, exist_ok=True)
        mount = assemble(mounts)
        try:
            move_mount(mount, AT_FDCWD, place)
        finally:
            os.close(mount)
    except OSError as error:
        raise FailedPrecondition(
            f"the root filesystem cannot be mounted at {place!r}: {error.strerror}"
        ) from None


def unmount_rootfs(bundle: str) -> None:
    """Unmount whatever is at bundle/rootfs, even if it is in use. Can be repeated."""
    place = rootfs_of(bundle)
    try:
        while True:
            umount2(place, MNT_DETACH | _UMOUNT_NOFOLLOW)
    except OSError as error:
        # EINVAL: nothing is mounted there (any more).
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise


def rootfs_of(bundle: str) -> str:
    """Where a bundle's root filesystem is mounted."""
    return os.path.join(bundle, "rootfs")
