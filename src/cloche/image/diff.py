"""What a container changed in its file system, as a list and as a layer.

For overlays the upper directory says it: devices 0:0 are deletions, opaque directories hide what
was below. Elsewhere the two trees are compared, by type, owner, mode, size and time as Docker does.
The container may be running, and may be hostile: its tree is only ever read through descriptors,
one component at a time or with openat2, and no link in it is followed.
"""

from __future__ import annotations

import os
import stat
from errno import ELOOP, ENODATA, ENOENT, ENOTDIR, EOPNOTSUPP

from cloche.errors import InvalidArgument
from cloche.image.beneath import DIRECTORY, open_beneath
from cloche.image.layertree import is_whiteout
from cloche.kernel import mounts as kernel_mounts
from cloche.spec.mount import Mount
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Literal, Self

    Kind = Literal["A", "C", "D"]

ADDED: Kind = "A"
CHANGED: Kind = "C"
DELETED: Kind = "D"
_ABSENT = (ENOENT, ENOTDIR, ELOOP)
_OPAQUE = "trusted.overlay.opaque"


class Change(Record):
    """One changed path. kind: A(dded), C(hanged) or D(eleted); path: absolute."""

    kind: Kind
    path: str


class Tree:
    """A directory tree to read, by its root's descriptor (owned)."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        """Close the root's descriptor."""
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, path: str, flags: int = DIRECTORY) -> int:
        """Open a path relative to the root, through no link."""
        return open_beneath(self.fd, os.fsencode(path), flags)

    def stat(self, path: str) -> os.stat_result | None:
        """What is at a path, or None where nothing is."""
        try:
            fd = self.open(path, os.O_PATH | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise InvalidArgument(f"/{path[:200]}: {error.strerror}") from None
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def names(self, path: str) -> list[str]:
        """The names in a directory; none where it is not one (any more)."""
        try:
            fd = self.open(path)
        except OSError as error:
            if error.errno in _ABSENT:
                return []
            raise InvalidArgument(f"/{path[:200]}: {error.strerror}") from None
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    def attribute(self, path: str, name: str) -> bytes | None:
        """An extended attribute of a file or directory, or None."""
        fd = self.open(path, os.O_PATH | os.O_NOFOLLOW)
        try:
            return os.getxattr(f"/proc/self/fd/{fd}", name)
        except OSError as error:
            if error.errno in (ENODATA, EOPNOTSUPP):
                return None
            raise
        finally:
            os.close(fd)


class Difference:
    """A changed tree and the one below it (None: everything is new). Both are closed with it."""

    def __init__(self, upper: Tree, lower: Tree | None, *, overlay: bool) -> None:
        self.upper = upper
        self.lower = lower
        self._overlay = overlay

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.upper.close()
        if self.lower is not None:
            self.lower.close()

    def changes(self) -> list[Change]:
        """All changes by path, with the directories that lead to them, as `docker diff` lists them."""
        found: dict[str, Kind] = {}
        for kind, path in self._walk():
            found[path] = kind
            parent = path
            while parent := parent.rpartition("/")[0]:
                found.setdefault(parent, CHANGED)
        return [Change(found[path], f"/{path}") for path in sorted(found)]

    def _walk(self) -> Iterator[tuple[Kind, str]]:
        todo = [""]
        while todo:
            directory = todo.pop()
            names = set(self.upper.names(directory))
            for name in sorted(names):
                path = f"{directory}/{name}" if directory else name
                now = self.upper.stat(path)
                if now is None:
                    continue
                before = self.lower.stat(path) if self.lower is not None else None
                if self._overlay and is_whiteout(now):
                    if before is not None:
                        yield DELETED, path
                    continue
                if before is None:
                    yield ADDED, path
                elif self._differs(path, now, before):
                    yield CHANGED, path
                if stat.S_ISDIR(now.st_mode):
                    todo.append(path)
            yield from self._hidden(directory, names)

    def _differs(self, path: str, now: os.stat_result, before: os.stat_result) -> bool:
        if self._overlay and not stat.S_ISDIR(now.st_mode):
            return True
        same = (
            now.st_mode == before.st_mode
            and (now.st_uid, now.st_gid) == (before.st_uid, before.st_gid)
            and now.st_mtime_ns == before.st_mtime_ns
            and (stat.S_ISDIR(now.st_mode) or (now.st_size, now.st_rdev) == (before.st_size, before.st_rdev))
        )
        if not same or self._overlay or self.lower is None:
            return not same
        capability = "security.capability"
        return self.upper.attribute(path, capability) != self.lower.attribute(path, capability)

    def _hidden(self, directory: str, names: set[str]) -> Iterator[tuple[Kind, str]]:
        """What the lower tree has in a directory and the upper one does not show."""
        if self.lower is None:
            return
        if self._overlay and self.upper.attribute(directory, _OPAQUE) != b"y":
            return
        for name in self.lower.names(directory):
            if name not in names:
                yield DELETED, f"{directory}/{name}" if directory else name


def difference(mounts: Sequence[Mount], parent: Sequence[Mount] = ()) -> Difference:
    """What an active snapshot changed against its parent, to be used as a context manager.

    mounts: of the snapshot, as snapshotters give them; parent: of a view of its parent, which is
    needed where the snapshot is no overlay (and has a parent at all).
    """
    mount = mounts[-1]
    options = dict(option.partition("=")[::2] for option in mount.options)
    if mount.type != "overlay" or "upperdir" not in options:
        lower = Tree(kernel_mounts.assemble(parent)) if parent else None
        return Difference(Tree(kernel_mounts.assemble(mounts)), lower, overlay=False)
    lowers = options["lowerdir"]
    if _moves():
        merged = Mount("overlay", "overlay", (f"lowerdir={options['upperdir']}:{lowers}",))
        return Difference(Tree(kernel_mounts.assemble((merged,))), _stacked(lowers), overlay=False)
    return Difference(Tree(os.open(options["upperdir"], DIRECTORY)), _stacked(lowers), overlay=True)


def _moves() -> bool:
    """Whether overlays on this kernel may rename directories, or copy metadata, by reference only.

    Then an upper directory does not hold all that changed, and the merged trees are compared.
    """
    for name in ("redirect_dir", "metacopy"):
        try:
            with open(f"/sys/module/overlay/parameters/{name}", encoding="ascii") as file:
                if file.read().strip() in ("Y", "on", "1"):
                    return True
        except OSError:
            continue
    return False


def _stacked(lowers: str) -> Tree:
    """Read-only layers, the nearest first, as one tree; one alone cannot be an overlay."""
    if ":" not in lowers:
        return Tree(kernel_mounts.assemble((Mount("bind", lowers, ("ro", "rbind")),)))
    return Tree(kernel_mounts.assemble((Mount("overlay", "overlay", (f"lowerdir={lowers}",)),)))
