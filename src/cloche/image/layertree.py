"""A directory tree that untrusted names are looked up in, never leaving it.

Names are resolved one component at a time from descriptors, each opened with O_NOFOLLOW; symbolic
links are followed by hand with the tree's root as "/", as containerd and Docker resolve the names in
layers. No path string ever reaches the kernel with more than one component, but for the final
pass over directories, which goes through openat2 with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS.
"""

from __future__ import annotations

import os
import stat
from errno import EEXIST, ENOENT, ENOTDIR, ENOTEMPTY

from cloche.errors import InvalidArgument
from cloche.image.beneath import DIRECTORY, open_beneath
from cloche.image.tarentry import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FEW = frozenset((b"", b"."))
_SYMLINK_LIMIT = 40
_CACHED_DIRECTORIES = 192
WHITEOUT_PREFIX = b".wh."


class Place:
    """An open directory of the tree. path: where it really is, relative to the root, b"" for it."""

    __slots__ = ("fd", "path")

    def __init__(self, fd: int, path: bytes) -> None:
        self.fd = fd
        self.path = path

    def child(self, base: bytes) -> bytes:
        """The real path of something in this directory."""
        return self.path + b"/" + base if self.path else base


def clean(name: bytes) -> bytes:
    """A name with its ".." taken out as text, never above the root: how containerd reads names."""
    kept: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            del kept[-1:]
        elif part not in _FEW:
            kept.append(part)
    return b"/".join(kept)


class Tree:
    """Directories below a root descriptor, which is borrowed; close() gives up all others.

    made: called with the place and name of every directory that is made on the way to another.
    covered: called likewise when such a directory takes the place of a whiteout device.
    """

    def __init__(
        self,
        root: int,
        *,
        made: Callable[[Place, bytes], None],
        covered: Callable[[Place, bytes], None] | None = None,
    ) -> None:
        self._root = root
        self._made = made
        self._covered = covered
        self._places: dict[bytes, Place] = {}
        self.root = Place(root, b"")
        self.known = self._places.get

    def close(self) -> None:
        """Close every cached descriptor."""
        for place in self._places.values():
            os.close(place.fd)
        self._places.clear()

    def trim(self) -> None:
        """Close cached descriptors when there are many. No place given out before stays valid."""
        if len(self._places) > _CACHED_DIRECTORIES:
            self.close()

    def directory(self, name: bytes, *, make: bool = True) -> Place:
        """The directory at `name` (cleaned), with what is missing made.

        Raises FileNotFoundError when it is not to be made, InvalidArgument when something on the
        way is not a directory or links go round in circles.
        """
        place = self._places.get(name)
        if place is not None:
            return place
        near, rest = self._nearest(name)
        place = _Walk(self, near, name, make=make).to(rest)
        self._places[name] = place
        return place

    def _nearest(self, name: bytes) -> tuple[Place, bytes]:
        """The longest leading part of `name` that is open already, and what follows it."""
        head = name
        while head:
            head = head.rpartition(b"/")[0]
            if (place := self._places.get(head)) is not None:
                return place, name[len(head) :]
        return self.root, name

    def make(self, parent: Place, base: bytes, name: bytes) -> None:
        """Make a directory that no entry asked for (yet); a whiteout in its place gives way."""
        try:
            os.mkdir(base, 0o755, dir_fd=parent.fd)
        except FileExistsError:
            found = os.stat(base, dir_fd=parent.fd, follow_symlinks=False)
            if self._covered is None or not is_whiteout(found):
                blocker = shown(parent.child(base))
                raise InvalidArgument(f"{shown(name)}: {blocker} is not a directory") from None
            os.unlink(base, dir_fd=parent.fd)
            os.mkdir(base, 0o755, dir_fd=parent.fd)
            self._covered(parent, base)
        self._made(parent, base)

    def forget(self) -> None:
        """Drop what is known about directories: one was removed or a link replaced."""
        self.close()

    def open_readable(self, path: bytes) -> int:
        """A readable descriptor of the directory really at `path` (no links); the caller closes it."""
        return open_beneath(self._root, path)


class _Walk:
    """One resolution of a name, component by component."""

    def __init__(self, tree: Tree, near: Place, name: bytes, *, make: bool) -> None:
        self._tree = tree
        self._name = name
        self._make = make
        self._fd = os.dup(near.fd)
        self._parts = near.path.split(b"/") if near.path else []
        self._links = 0

    def to(self, rest: bytes) -> Place:
        """Follow `rest` to its end."""
        try:
            todo = rest.split(b"/")[::-1]
            while todo:
                part = todo.pop()
                if part == b"..":
                    self._up()
                elif part not in _FEW:
                    self._down(part, todo)
        except BaseException:
            os.close(self._fd)
            raise
        return Place(self._fd, b"/".join(self._parts))

    def _replace(self, fd: int) -> None:
        os.close(self._fd)
        self._fd = fd

    def _up(self) -> None:
        """To the parent, but not above the root: the parts say how deep we are."""
        if self._parts:
            self._replace(os.open(b"..", _DIRECTORY, dir_fd=self._fd))
            self._parts.pop()

    def _down(self, part: bytes, todo: list[bytes]) -> None:
        try:
            fd = os.open(part, _DIRECTORY, dir_fd=self._fd)
        except OSError as error:
            if error.errno == ENOTDIR:
                if self._follow(part, todo):
                    return
            elif error.errno != ENOENT or not self._make:
                raise
            self._tree.make(Place(self._fd, b"/".join(self._parts)), part, self._name)
            fd = os.open(part, _DIRECTORY, dir_fd=self._fd)
        self._replace(fd)
        self._parts.append(part)

    def _follow(self, part: bytes, todo: list[bytes]) -> bool:
        """Put a symbolic link's target in front of what is to do; False when it is no link."""
        try:
            target = os.readlink(part, dir_fd=self._fd)
        except OSError:
            if self._make:
                return False
            raise InvalidArgument(f"{shown(self._name)}: {shown(part)} is not a directory") from None
        self._links += 1
        if self._links > _SYMLINK_LIMIT:
            raise InvalidArgument(f"{shown(self._name)}: too many symbolic links on the way")
        if target.startswith(b"/"):
            self._replace(os.dup(self._tree.root.fd))
            self._parts.clear()
        todo.extend(target.split(b"/")[::-1])
        return True


def is_whiteout(found: os.stat_result) -> bool:
    """Whether this is overlayfs's mark of a deleted name: a character device 0:0."""
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def remove(directory: int, base: bytes) -> None:
    """Remove a file, or a directory with all below it.

    Goes down by descriptors and up by "..", with no recursion: the depth is the archive's choice.
    """
    try:
        os.unlink(base, dir_fd=directory)
        return
    except IsADirectoryError:
        pass
    names = [base]
    levels: list[list[bytes]] = [[]]
    fd = _entered(directory, base, levels)
    try:
        while True:
            if levels[-1]:
                names.append(levels[-1].pop())
                fd = _stepped(fd, names[-1], levels)
                continue
            levels.pop()
            name = names.pop()
            if not names:
                break
            fd = _stepped(fd, b"..", None)
            os.rmdir(name, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(base, dir_fd=directory)


def _stepped(fd: int, name: bytes, levels: list[list[bytes]] | None) -> int:
    """Move from one directory into another, closing the first."""
    following = os.open(name, DIRECTORY, dir_fd=fd) if levels is None else _entered(fd, name, levels)
    os.close(fd)
    return following


def _entered(fd: int, name: bytes, levels: list[list[bytes]]) -> int:
    """Open a directory and empty it but for its subdirectories, which are the new level's work."""
    following = os.open(name, DIRECTORY, dir_fd=fd)
    below: list[bytes] = []
    levels.append(below)
    with os.scandir(following) as entries:
        found = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
    for entry_name, is_directory in found:
        if is_directory:
            try:
                os.rmdir(entry_name, dir_fd=following)
            except OSError as error:
                if error.errno not in (ENOTEMPTY, EEXIST):
                    raise
                below.append(entry_name)
        else:
            os.unlink(entry_name, dir_fd=following)
    return following
