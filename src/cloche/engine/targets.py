"""Places that every container mounts something at, given to images that lack them by one more layer.

Without it the runtime makes them in each container's own directory: a dozen operations on the disk
for every run, and as many to remove them.
"""

from __future__ import annotations

import os
import stat

from cloche.engine.mounts import FILES
from cloche.kernel.paths import open_in_root

_DIRECTORIES = ("proc", "dev", "sys")


def make_layer(root: int, directory: str) -> bool:
    """Fill an empty directory with what the image lacks; false where it lacks nothing.

    root: the image's root directory. The layer's directories look as the image's do, since they
    hide those.
    """
    _look_like(directory, os.fstat(root))
    made = False
    for name in _DIRECTORIES:
        if _status(root, name) is None:
            os.mkdir(f"{directory}/{name}", 0o755)
            made = True
    etc = _status(root, "etc")
    missing = [name for name in FILES if _status(root, f"etc/{name}") is None]
    if missing and (etc is None or stat.S_ISDIR(etc.st_mode)):
        os.mkdir(f"{directory}/etc", 0o755)
        if etc is not None:
            _look_like(f"{directory}/etc", etc)
        for name in missing:
            os.close(os.open(f"{directory}/etc/{name}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o755))
        made = True
    return made


def _look_like(path: str, status: os.stat_result) -> None:
    os.chown(path, status.st_uid, status.st_gid)
    os.chmod(path, stat.S_IMODE(status.st_mode))


def _status(root: int, path: str) -> os.stat_result | None:
    """What is at a path of the image, not following a final link."""
    try:
        descriptor = open_in_root(root, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)
