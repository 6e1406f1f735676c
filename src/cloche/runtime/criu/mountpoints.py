"""Places for a restored container's mounts, in a root filesystem that may never have had them.

A new container's init makes what is missing as it mounts. criu mounts what it has dumped and makes
nothing; so a checkpoint restored on another machine, over a fresh copy of the image, needs this.
"""

from __future__ import annotations

import os

from cloche.errors import FailedPrecondition
from cloche.kernel.mount_options import MountOptions
from cloche.kernel.mounts import bind
from cloche.kernel.paths import make_directories_in_root, open_in_root
from cloche.kernel.syscalls import move_mount
from cloche.runtime.configured_mounts import configured_mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.runtime.configured_mounts import ConfiguredMount
    from cloche.spec.config import Config


def make_mountpoints(root: int, config: Config, bundle: str) -> None:
    """Make the places that are missing. root: a mount of the root filesystem that is thrown away after.

    In a bind mount they are made at its source. What lies in a file system of the container's own is
    left out: criu brings that back with all that was in it.
    Raises FailedPrecondition that names the mount.
    """
    mounts = configured_mounts(config)
    for index, mount in enumerate(mounts):
        above = _above(mounts[:index], mount)
        of_cgroups = mount.type.startswith("cgroup") and not mount.is_bind
        if of_cgroups or not (above is None or above.is_bind):
            continue
        try:
            place = _make(root, mount, bundle)
            try:
                if mount.is_bind and any(
                    _above(mounts[:i], other) is mount for i, other in enumerate(mounts)
                ):
                    _show(mount, bundle, place)
            finally:
                os.close(place)
        except OSError as error:
            raise FailedPrecondition(
                f"config.json: {mount.place}: {mount.target}: cannot be prepared for the restore: "
                f"{error.strerror}"
            ) from None


def _above(earlier: Sequence[ConfiguredMount], mount: ConfiguredMount) -> ConfiguredMount | None:
    """The mount that a mount's place is in; None for the root filesystem."""
    for candidate in reversed(earlier):
        if mount.target == candidate.target or mount.target.startswith(f"{candidate.target}/"):
            return candidate
    return None


def _source(mount: ConfiguredMount, bundle: str) -> str:
    return os.path.join(bundle, mount.entry.get("source", ""))


def _make(root: int, mount: ConfiguredMount, bundle: str) -> int:
    """The place of a mount, made where it was missing; an O_PATH descriptor."""
    path = mount.target
    if not mount.is_bind or os.path.isdir(_source(mount, bundle)):
        return make_directories_in_root(root, path)
    try:
        return open_in_root(root, path)
    except FileNotFoundError:
        os.close(make_directories_in_root(root, os.path.dirname(path)))
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
        os.close(open_in_root(root, path, flags, mode=0o644))
        return open_in_root(root, path)


def _show(mount: ConfiguredMount, bundle: str, place: int) -> None:
    """Mount the source, for what is to be made inside of it."""
    tree = bind(_source(mount, bundle), MountOptions(recursive=mount.options.recursive))
    try:
        move_mount(tree, place, "")
    finally:
        os.close(tree)
