"""What a bind mount's propagation needs of the mount that its source lies on."""

from __future__ import annotations

import os

from cloche.errors import InvalidArgument
from cloche.kernel import mountinfo

_SHARED, _SLAVE = ("shared", "rshared"), ("slave", "rslave")


def require(source: str, propagation: str) -> None:
    """Raise InvalidArgument, in Docker's words, where mounts could not come in (and go out, if shared)."""
    path = os.path.realpath(source)
    point, optional = _mount_of(path)
    is_shared = any(field.startswith("shared:") for field in optional)
    if propagation in _SHARED and not is_shared:
        raise InvalidArgument(f"path {source} is mounted on {point} but it is not a shared mount")
    if propagation in _SLAVE and not (is_shared or any(field.startswith("master:") for field in optional)):
        raise InvalidArgument(f"path {source} is mounted on {point} but it is not a shared or slave mount")


def _mount_of(path: str) -> tuple[str, tuple[str, ...]]:
    """(mount point, optional fields) of the mount that a path lies on; of several at a place, the last."""
    found: tuple[str, tuple[str, ...]] = ("/", ())
    for mount in mountinfo.mounts():
        below = mount.point == "/" or path == mount.point or path.startswith(mount.point + "/")
        if below and len(mount.point) >= len(found[0]):
            found = (mount.point, mount.optional)
    return found
