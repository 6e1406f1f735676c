"""What a layer leaves unsaid, taken from the layers below it.

A layer may bring usr/bin/tool without listing usr/ or usr/bin/: then these directories keep the
owner, mode, times and attributes that they have below, where an overlay would show those of the
uppermost directory. A layer without an entry for its root keeps the root's likewise.
"""

from __future__ import annotations

import os
import stat
from errno import ELOOP, ENODATA, ENOENT, ENOTDIR, EOPNOTSUPP

from cloche.image.beneath import DIRECTORY, open_beneath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.image.layer import LayerResult

_OPAQUE = "trusted.overlay.opaque"
_OVERLAY_ATTRIBUTES = ("trusted.overlay.", "user.overlay.")


def complete(upper: str, lowers: Sequence[str], result: LayerResult) -> None:
    """Give the implied directories of an extracted layer what they have below.

    upper: where it was extracted; lowers: the directories of the layers below, the nearest first.
    A layer whose root is opaque gets whiteouts for all that is at the root below, since overlayfs
    merges the roots in any case.
    """
    root = os.open(upper, DIRECTORY)
    try:
        if result.opaque_root:
            _hide(root, lowers)
            return
        for path in result.implied:
            _take_after(root, path, lowers)
    finally:
        os.close(root)


def _take_after(root: int, path: bytes, lowers: Sequence[str]) -> None:
    for lower in lowers:
        below = os.open(lower, DIRECTORY)
        try:
            found = _Lookup(below)
            if found.directory(path):
                _copy_metadata(found.fd, root, path)
            if found.final:
                return
        finally:
            os.close(below)


class _Lookup:
    """A path looked up in one layer alone. final: no layer below it matters for this path."""

    def __init__(self, fd: int) -> None:
        self.fd = os.dup(fd)
        self.final = False

    def __del__(self) -> None:
        os.close(self.fd)

    def directory(self, path: bytes) -> bool:
        """Whether the layer has a directory there; then `fd` is its descriptor."""
        for part in path.split(b"/") if path else ():
            self.final = self.final or _is_opaque(self.fd)
            try:
                fd = os.open(part, DIRECTORY, dir_fd=self.fd)
            except OSError as error:
                # A file, a link or a whiteout in this layer hides whatever is below it.
                self.final = self.final or error.errno in (ENOTDIR, ELOOP)
                if error.errno in (ENOENT, ENOTDIR, ELOOP):
                    return False
                raise
            os.close(self.fd)
            self.fd = fd
        self.final = True
        return True


def _is_opaque(fd: int) -> bool:
    try:
        return os.getxattr(fd, _OPAQUE) == b"y"
    except OSError as error:
        if error.errno in (ENODATA, EOPNOTSUPP):
            return False
        raise


def _copy_metadata(source: int, root: int, path: bytes) -> None:
    try:
        target = open_beneath(root, path)
    except OSError as error:
        if error.errno in (ENOENT, ENOTDIR, ELOOP):
            return  # something later in the archive took its place
        raise
    try:
        status = os.fstat(source)
        os.fchown(target, status.st_uid, status.st_gid)
        os.fchmod(target, stat.S_IMODE(status.st_mode))
        for name in os.listxattr(source):
            if not name.startswith(_OVERLAY_ATTRIBUTES):
                os.setxattr(target, name, os.getxattr(source, name))
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(target)


def _hide(root: int, lowers: Sequence[str]) -> None:
    """Whiteouts at the root for every name of the layers below that the layer itself does not bring."""
    for name in {name for lower in lowers for name in os.listdir(lower)}:
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=root)
        except FileExistsError:
            found = os.stat(name, dir_fd=root, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                os.setxattr(f"/proc/self/fd/{root}/{name}", _OPAQUE, b"y", follow_symlinks=False)
