"""What the `.wh.` names of a layer mean, in the two places a layer is applied to.

Image spec, "Layer Filesystem Changeset": `.wh.NAME` deletes NAME of the layers below, `.wh..wh..opq`
all that a directory had below. Neither hides what its own layer brings, whichever comes first.
"""

from __future__ import annotations

import os
import stat

from cloche.errors import InvalidArgument
from cloche.image.layertree import WHITEOUT_PREFIX, Place, Tree, is_whiteout
from cloche.image.tarentry import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

OPAQUE = b".wh..wh..opq"
_METADATA_PREFIX = b".wh..wh."
_OPAQUE_ATTRIBUTE = "trusted.overlay.opaque"


class Whiteouts:
    """How an Extractor treats whiteouts. prefix: whether names with `.wh.` are special at all.

    placed: told the real path of everything the archive brings, where that is needed.
    """

    prefix = True
    placed: Callable[[bytes], None] | None = None

    def attach(self, tree: Tree, remove: Callable[[Place, bytes], None]) -> None:
        """Learn the tree to work on, and how to remove a name of it with all that was planned for it."""
        self._tree = tree
        self._remove = remove

    def apply(self, place: Place, base: bytes) -> None:
        """Act on the whiteout `base` in a directory. Raises InvalidArgument for names that are none."""
        if base == OPAQUE:
            self.opaque(place)
            return
        name = base[len(WHITEOUT_PREFIX) :]
        if base.startswith(_METADATA_PREFIX):
            # Left by aufs at the root (.wh..wh.plnk and the like): nothing of the image's own.
            if place.path:
                raise InvalidArgument(f"{shown(place.child(base))}: not the name of a whiteout")
            return
        if name in (b"", b".", b".."):
            raise InvalidArgument(f"{shown(place.child(base))}: a whiteout of nothing that can be")
        self.delete(place, name)

    def opaque(self, place: Place) -> None:
        """Hide all that a directory had in the layers below."""
        raise NotImplementedError

    def delete(self, place: Place, name: bytes) -> None:
        """Hide one name of the layers below."""
        raise NotImplementedError

    def replaced(self, place: Place, base: bytes, before: os.stat_result) -> None:
        """A directory took the place of something else."""

    def cover(self, place: Place, base: bytes) -> None:
        """A directory that no entry asked for took the place of a whiteout."""


class NoWhiteouts(Whiteouts):
    """An archive in which `.wh.` is the beginning of a name like any other."""

    prefix = False


class OverlayWhiteouts(Whiteouts):
    """For the upper directory of an overlay: a device 0:0 for a deleted name, an attribute for opaque.

    The directory holds this layer alone, so what is there already was brought by the layer.
    """

    def __init__(self) -> None:
        self.opaque_root = False

    def opaque(self, place: Place) -> None:
        if not place.path:
            self.opaque_root = True
        os.setxattr(f"/proc/self/fd/{place.fd}", _OPAQUE_ATTRIBUTE, b"y")

    def delete(self, place: Place, name: bytes) -> None:
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=place.fd)
        except FileExistsError:
            found = os.stat(name, dir_fd=place.fd, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                self.cover(place, name)

    def replaced(self, place: Place, base: bytes, before: os.stat_result) -> None:
        if is_whiteout(before):
            self.cover(place, base)

    def cover(self, place: Place, base: bytes) -> None:
        """The directory is there again, but without what it had: opaque."""
        os.setxattr(b"/proc/self/fd/%d/%s" % (place.fd, base), _OPAQUE_ATTRIBUTE, b"y", follow_symlinks=False)


class RemovingWhiteouts(Whiteouts):
    """For a directory that holds a copy of the layers below: deleted names are removed."""

    def __init__(self) -> None:
        self._brought: set[bytes] = set()
        self.placed = self._place

    def _place(self, path: bytes) -> None:
        brought = self._brought
        while path and path not in brought:
            brought.add(path)
            path = path.rpartition(b"/")[0]

    def opaque(self, place: Place) -> None:
        self._clear(place)

    def delete(self, place: Place, name: bytes) -> None:
        try:
            found = os.stat(name, dir_fd=place.fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        path = place.child(name)
        if path not in self._brought:
            self._remove(place, name)
        elif stat.S_ISDIR(found.st_mode):
            self._clear(self._tree.directory(path))

    def _clear(self, place: Place) -> None:
        """Remove what a directory holds, but for what the layer brought, at any depth."""
        todo = [place.path]
        while todo:
            path = todo.pop()
            fd = self._tree.open_readable(path)
            try:
                for name in map(os.fsencode, os.listdir(fd)):
                    here = Place(fd, path)
                    if here.child(name) not in self._brought:
                        self._remove(here, name)
                    elif stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                        todo.append(here.child(name))
            finally:
                os.close(fd)
