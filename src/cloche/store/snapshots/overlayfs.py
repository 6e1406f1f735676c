"""The overlayfs snapshotter: every snapshot is one layer, and the kernel stacks them.

    ROOT/snapshots/<id>/fs       what this snapshot changes: the upper directory
    ROOT/snapshots/<id>/work     overlayfs's own, for active snapshots

The mounts are containerd's to the letter: one layer alone is a bind mount, as an overlay of one
layer is refused by the kernel; several are an overlay with the nearest first.
"""

from __future__ import annotations

import os
import stat

from cloche.errors import DataLoss
from cloche.spec.mount import Mount
from cloche.store.snapshots.local import LocalSnapshotter
from cloche.store.snapshots.rows import ACTIVE, VIEW, Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.store.metadata import WriteTransaction

_INDEX_PARAMETER = "/sys/module/overlay/parameters/index"
_WHOLE_RANGE = [b"0", b"0", b"4294967295"]


class Overlayfs(LocalSnapshotter):
    """Snapshots as layers of overlayfs (see LocalSnapshotter for the interface)."""

    def __init__(self, root: str, name: str = "overlayfs", *, namespace: str = "default") -> None:
        super().__init__(root, name, namespace=namespace)
        self._options: tuple[str, ...] | None = None

    def make(self, tx: WriteTransaction, key: str, snapshot: Snapshot) -> None:
        if snapshot.kind == VIEW and snapshot.parents:
            return  # shows its parents, and has nothing of its own
        directory = self.directory(snapshot.id)
        self.make_directory(directory, 0o700)
        tx.on_rollback(lambda: _remove_empty(directory))
        os.mkdir(f"{directory}/fs", 0o755)
        if snapshot.kind == ACTIVE:
            os.mkdir(f"{directory}/work", 0o711)
        if snapshot.parents:
            _take_after(f"{directory}/fs", self._upper(snapshot.parents[0]), key)
        else:
            os.chmod(f"{directory}/fs", 0o755)  # noqa: S103 - the container's own root

    def shown(self, snapshot: Snapshot) -> tuple[Mount, ...]:
        own = self._upper(snapshot.id)
        if not snapshot.parents:
            return (Mount("bind", own, ("rw" if snapshot.kind == ACTIVE else "ro", "rbind")),)
        lower = [self._upper(number) for number in snapshot.parents]
        if snapshot.kind == VIEW and len(lower) == 1:
            return (Mount("bind", lower[0], ("ro", "rbind")),)
        writable: tuple[str, ...] = ()
        if snapshot.kind == ACTIVE:
            writable = (f"workdir={self.directory(snapshot.id)}/work", f"upperdir={own}")
        options = (*writable, "lowerdir=" + ":".join(lower), *self._kernel_options())
        return (Mount("overlay", "overlay", options),)

    def tree(self, snapshot: Snapshot) -> str:
        return self._upper(snapshot.id)

    def _upper(self, number: int) -> str:
        return f"{self.root}/snapshots/{number}/fs"

    def _kernel_options(self) -> tuple[str, ...]:
        if self._options is None:
            # An index would refuse a lower layer that another overlay has as its upper one.
            index = ("index=off",) if os.path.exists(_INDEX_PARAMETER) else ()
            self._options = index + (("userxattr",) if _in_user_namespace() else ())
        return self._options


def _take_after(path: str, parent: str, key: str) -> None:
    """Give a new upper directory the owner and mode of its parent's, as the root of both is seen there."""
    try:
        status = os.stat(parent, follow_symlinks=False)
    except FileNotFoundError:
        raise DataLoss(
            f"snapshot {key!r}: the layer below it is gone from {parent}: remove the image and pull it again"
        ) from None
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)
    os.chmod(path, stat.S_IMODE(status.st_mode))


def _remove_empty(directory: str) -> None:
    for path in (f"{directory}/fs", f"{directory}/work", directory):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            continue


def _in_user_namespace() -> bool:
    descriptor = os.open("/proc/self/uid_map", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096).split() != _WHOLE_RANGE
    finally:
        os.close(descriptor)
