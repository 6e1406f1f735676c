"""What snapshotters that keep their snapshots in local directories have in common.

    ROOT/snapshots/<id>/     one snapshot; what is in it is the snapshotter's business
    ROOT/snapshots/new-<id>/ one that is still being filled; locked by whoever fills it
    ROOT/trash/              removed, not deleted yet

Rows are the truth. A directory is made inside the transaction that adds its row, and moved to the
trash after the one that deletes it: whatever a crash leaves behind is a directory without a row,
and `cleanup` knows it by that.
"""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_NB, flock

from cloche.store import clock, faults
from cloche.store.snapshots import rows, trash
from cloche.store.snapshots.rows import ACTIVE, VIEW, Info, Snapshot, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.spec.mount import Mount
    from cloche.store.metadata import Transaction, WriteTransaction

_MINUTE_NS = 60 * clock.SECOND


class LocalSnapshotter:
    """containerd's snapshotter interface over directories and rows; subclasses say what is in one.

    root: the snapshotter's own directory, made with the first snapshot; name: what the rows know
    it by; namespace: whose snapshots these are. The methods take the transaction they are part
    of, so that several of them, and a container's row, become durable together. Nothing here mounts.
    """

    def __init__(self, root: str, name: str, *, namespace: str = "default") -> None:
        self.root = root
        self.name = name
        self.namespace = namespace
        self._table = rows.Table(name, namespace)
        self._trash = f"{root}/trash"

    def prepare(
        self,
        tx: WriteTransaction,
        key: str,
        parent: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> tuple[Mount, ...]:
        """Begin an active snapshot upon a committed one; what to mount to write to it.

        Raises AlreadyExists, NotFound for the parent, InvalidArgument when that is not committed.
        """
        snapshot = self._table.create(tx, ACTIVE, key, parent, labels)
        self.make(tx, key, snapshot)
        faults.point("snapshot.prepared")
        return self.shown(snapshot)

    def view(
        self,
        tx: WriteTransaction,
        key: str,
        parent: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> tuple[Mount, ...]:
        """As `prepare`, but to read only; a view is removed and never committed."""
        snapshot = self._table.create(tx, VIEW, key, parent, labels)
        self.make(tx, key, snapshot)
        return self.shown(snapshot)

    def mounts(self, tx: Transaction, key: str) -> tuple[Mount, ...]:
        """What to mount for an active snapshot or a view.

        Raises NotFound, FailedPrecondition for a committed one.
        """
        snapshot = self._table.get(tx, key)
        if snapshot.kind not in (ACTIVE, VIEW):
            from cloche.errors import FailedPrecondition

            raise FailedPrecondition(f"snapshot {key!r}: is committed: make a view of it to mount it")
        self.require_ready(key, snapshot)
        return self.shown(snapshot)

    def commit(
        self,
        tx: WriteTransaction,
        name: str,
        key: str,
        labels: Mapping[str, str] | None = None,
        usage: Usage | None = None,
    ) -> None:
        """Make an active snapshot a committed one called `name`, with these labels only.

        usage: what `disk_usage` said before the transaction, to be kept. What was written must
        have been synced (`sync`), and nobody may write to it any more.
        Raises NotFound, AlreadyExists for the name, FailedPrecondition unless it is active.
        """
        snapshot = self._table.committable(tx, name, key)
        self.require_ready(key, snapshot)
        self._table.commit(tx, snapshot, name, labels, usage)
        faults.point("snapshot.committed")

    def remove(self, tx: WriteTransaction, key: str) -> None:
        """Forget a snapshot; its directory is moved aside after the commit, for `purge` to delete.

        Raises NotFound, FailedPrecondition while another snapshot has it as its parent.
        """
        path = self.directory(self._table.remove(tx, key).id)
        tx.after_commit(lambda: self._discard(path))

    def stat(self, tx: Transaction, key: str) -> Info:
        """What is known of a snapshot. Raises NotFound."""
        return self._table.stat(tx, key)

    def exists(self, tx: Transaction, key: str) -> bool:
        """Whether there is a snapshot of that key or name."""
        return self._table.exists(tx, key)

    def walk(self, tx: Transaction) -> tuple[Info, ...]:
        """All snapshots of this namespace, parents before their children."""
        return self._table.walk(tx)

    def update(self, tx: WriteTransaction, key: str, labels: Mapping[str, str]) -> Info:
        """Replace a snapshot's labels, which is all that can change. Raises NotFound, InvalidArgument."""
        return self._table.update(tx, key, labels)

    def usage(self, tx: Transaction, key: str) -> Usage:
        """What a snapshot takes on disk without its parents; looked up where nobody kept it.

        Give it a read transaction: it may walk the whole tree. Raises NotFound.
        """
        return self._table.usage(tx, key) or self.disk_usage(tx, key)

    def disk_usage(self, tx: Transaction, key: str) -> Usage:
        """What a snapshot takes on disk now, by walking its tree. Raises NotFound."""
        from cloche.store.snapshots.disk_usage import disk_usage

        snapshot = self._table.get(tx, key)
        try:
            return disk_usage(self.tree(snapshot))
        except FileNotFoundError:
            return Usage(0, 0)

    def sync(self) -> None:
        """Wait until all that was written into snapshots is on disk. Outside of transactions."""
        from cloche.kernel.syscalls import syncfs

        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syncfs(descriptor)
        finally:
            os.close(descriptor)

    def cleanup(self, tx: WriteTransaction) -> int:
        """Move aside what crashes left behind, in every namespace; returns how many directories.

        Inside a write transaction no other process is between making a directory and adding its
        row, so whatever has no row is left over.
        """
        found = self.leftovers(tx)
        for entry in found:
            self._discard(f"{self.root}/snapshots/{entry}")
        return len(found)

    def leftovers(self, tx: WriteTransaction) -> list[str]:
        """The names of the directories that `cleanup` would move aside."""
        numbers = rows.numbers(tx, self.name)
        found = []
        for entry in self._entries():
            path = f"{self.root}/snapshots/{entry}"
            if entry.startswith("new-"):
                garbage = _is_old(path) and not is_being_filled(path)
            else:
                garbage = not entry.isdecimal() or int(entry) not in numbers
            if garbage:
                found.append(entry)
        return found

    def purge(self) -> int:
        """Delete what was moved aside; returns how many trees are in use and had to stay."""
        return trash.empty(self._trash)

    def directory(self, number: int) -> str:
        return f"{self.root}/snapshots/{number}"

    def _discard(self, path: str) -> None:
        faults.point("snapshot.removed")
        trash.discard(path, self._trash)
        faults.point("snapshot.discarded")

    def _entries(self) -> list[str]:
        try:
            return os.listdir(f"{self.root}/snapshots")
        except FileNotFoundError:
            return []

    def make_directory(self, path: str, mode: int) -> None:
        """Make a snapshot's directory; one that a crash left there makes room."""
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            trash.discard(path, self._trash)
            os.mkdir(path, mode)
        except FileNotFoundError:
            os.makedirs(self.root, mode=0o700, exist_ok=True)
            os.makedirs(f"{self.root}/snapshots", mode=0o700, exist_ok=True)
            os.mkdir(path, mode)

    def make(self, tx: WriteTransaction, key: str, snapshot: Snapshot) -> None:
        """Make the directory of a new snapshot, to be undone with the transaction."""
        raise NotImplementedError

    def tree(self, snapshot: Snapshot) -> str:
        """The tree that counts as a snapshot's own."""
        raise NotImplementedError

    def shown(self, snapshot: Snapshot) -> tuple[Mount, ...]:
        """What shows an active snapshot or a view."""
        raise NotImplementedError

    def require_ready(self, key: str, snapshot: Snapshot) -> None:
        """Raise when an active snapshot is not there whole."""


def _is_old(path: str) -> bool:
    # Between making a directory to fill and locking it nothing shows that it is alive.
    try:
        return clock.now() - os.stat(path, follow_symlinks=False).st_ctime_ns > _MINUTE_NS
    except FileNotFoundError:
        return False


def is_being_filled(path: str) -> bool:
    """Whether a live process fills this directory."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
