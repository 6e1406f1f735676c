"""tmpcopyup: a tmpfs that begins with what the container's root has at its place.

The caller fills it while it is nowhere mounted: what an image holds is copied by descriptors only,
and the container cannot interfere, as it does not exist yet.
"""

from __future__ import annotations

import os
import stat

from cloche.kernel.mount_options import MOUNT_ATTR__ATIME, MountOptions
from cloche.runtime.caller import MakesMount, Performing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.runtime.operations import Slot


class CopyUp(MakesMount):
    """A detached tmpfs filled with what a directory of the container holds.

    base: the mount in which `path` is looked up; empty: there is nothing to copy.
    words: the tmpfs's options, of which mode, uid and gid hold against those of the directory.
    attributes: MOUNT_ATTR_*. Nothing is copied where the path is no directory.
    """

    base: Slot
    path: str
    words: tuple[str, ...]
    attributes: int

    def perform(self, performing: Performing) -> None:
        """See the class."""
        from cloche.kernel.mounts import filesystem

        # One of the kinds of access time can be set only where all are cleared.
        cleared = MOUNT_ATTR__ATIME if self.attributes & MOUNT_ATTR__ATIME else 0
        options = MountOptions(set_attributes=self.attributes, clear_attributes=cleared, data=self.words)
        mount = performing.descriptors[self.slot] = filesystem("tmpfs", "tmpfs", options)
        if not self.base:
            return
        from cloche.kernel.paths import open_in_root

        base = performing.descriptors[self.base]
        try:
            source = open_in_root(base, self.path, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            target = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount)
            try:
                self._fill(source, target)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _fill(self, source: int, target: int) -> None:
        from cloche.kernel.treecopy import copy_directory

        asked = os.fstat(target)
        copy_directory(source, target, exact=False)
        keys = {word.partition("=")[0] for word in self.words}
        os.fchown(target, asked.st_uid if "uid" in keys else -1, asked.st_gid if "gid" in keys else -1)
        if "mode" in keys:
            os.fchmod(target, stat.S_IMODE(asked.st_mode))
