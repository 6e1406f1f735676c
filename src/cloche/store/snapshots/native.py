"""The native snapshotter: every snapshot is a whole copy of its parent.

    ROOT/snapshots/<id>/     the tree itself

For filesystems that overlayfs cannot use. The copy shares its blocks with the original where the
filesystem can. It may take long, so it is made after the transaction, and moved to its place when
it is whole; until then, and after a crash on the way, the snapshot says that it is not ready.
"""

from __future__ import annotations

import os
from fcntl import LOCK_EX, flock

from cloche.errors import FailedPrecondition, Unavailable
from cloche.spec.mount import Mount
from cloche.store import faults
from cloche.store.snapshots import local, trash
from cloche.store.snapshots.local import LocalSnapshotter
from cloche.store.snapshots.rows import ACTIVE, VIEW, Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.store.metadata import Metadata, Transaction, WriteTransaction


class Native(LocalSnapshotter):
    """Snapshots as copies (see LocalSnapshotter for the interface).

    `prepare` copies when its transaction is durable: an error of the copy (a full disk) leaves
    the transaction's `with` block, and has then removed the snapshot's row again.
    """

    def __init__(self, root: str, name: str = "native", *, namespace: str = "default") -> None:
        super().__init__(root, name, namespace=namespace)

    def make(self, tx: WriteTransaction, key: str, snapshot: Snapshot) -> None:
        if snapshot.kind == VIEW and snapshot.parents:
            return  # shows its parent
        if not snapshot.parents:
            directory = self.directory(snapshot.id)
            self.make_directory(directory, 0o755)
            os.chmod(directory, 0o755)  # noqa: S103 - the container's own root
            tx.on_rollback(lambda: os.rmdir(directory))
            return
        filling = _Filling(self._new(snapshot.id), self)
        tx.on_rollback(filling.abandon)
        tx.after_commit(lambda: self._fill(tx.metadata, key, snapshot, filling))

    def _fill(self, metadata: Metadata, key: str, snapshot: Snapshot, filling: _Filling) -> None:
        from cloche.kernel.treecopy import copy_tree

        try:
            with metadata.read() as tx:
                wanted = self._is(tx, key, snapshot)
            if wanted:
                copy_tree(self.directory(snapshot.parents[0]), filling.path, exact=True)
                faults.point("snapshot.copied")
            with metadata.write() as tx:
                if self._is(tx, key, snapshot):
                    os.rename(filling.path, self.directory(snapshot.id))
        except BaseException:
            with metadata.write() as tx:
                if self._is(tx, key, snapshot):
                    self._table.remove(tx, key)
            raise
        finally:
            trash.discard(filling.path, self._trash)
            filling.close()

    def _is(self, tx: Transaction, key: str, snapshot: Snapshot) -> bool:
        """Whether nobody has removed the snapshot meanwhile."""
        return self._table.exists(tx, key) and self._table.get(tx, key).id == snapshot.id

    def shown(self, snapshot: Snapshot) -> tuple[Mount, ...]:
        shown = snapshot.parents[0] if snapshot.kind == VIEW and snapshot.parents else snapshot.id
        mode = "rw" if snapshot.kind == ACTIVE else "ro"
        return (Mount("bind", self.directory(shown), (mode, "rbind")),)

    def tree(self, snapshot: Snapshot) -> str:
        return self.directory(snapshot.id)

    def require_ready(self, key: str, snapshot: Snapshot) -> None:
        if snapshot.kind != ACTIVE or os.path.isdir(self.directory(snapshot.id)):
            return
        if local.is_being_filled(self._new(snapshot.id)):
            raise Unavailable(f"snapshot {key!r}: is still being copied: try again")
        raise FailedPrecondition(f"snapshot {key!r}: its copy was interrupted: remove it")

    def _new(self, number: int) -> str:
        return f"{self.root}/snapshots/new-{number}"

    def make_new(self, path: str) -> None:
        """Make the directory that a copy is made in."""
        self.make_directory(path, 0o700)


class _Filling:
    """A directory being filled, locked so that no cleanup takes it for a leftover."""

    def __init__(self, path: str, snapshotter: Native) -> None:
        self.path = path
        snapshotter.make_new(path)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        flock(self._descriptor, LOCK_EX)

    def abandon(self) -> None:
        self.close()
        os.rmdir(self.path)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
