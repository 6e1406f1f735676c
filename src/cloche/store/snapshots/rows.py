"""The rows of snapshots: what there is and what it grew from, the same for every snapshotter.

                prepare                commit
    (parent) ──────────▶ active ──────────────────▶ committed ──▶ parent of others
        │         view                                  │
        └──────▶ view ── remove          remove, once nothing has it as its parent

An active snapshot and a view are found by their key, a committed one by its name; both are in the
column `key`, so no two share one. The numeric id names the directory, and no two ever had the same.
"""

from __future__ import annotations

from cloche.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from cloche.spec.record import Record
from cloche.store import clock, namespaces
from cloche.store import labels as label_column
from cloche.store.identifiers import validate_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.store.metadata import Row, Transaction, WriteTransaction

ACTIVE, VIEW, COMMITTED = "active", "view", "committed"


class Snapshot(Record):
    """What a snapshotter needs to know: directory numbers, its own and its parents', nearest first."""

    id: int
    kind: str
    parents: tuple[int, ...] = ()


class Info(Record):
    """A snapshot as clients see it. kind: active, view or committed; times in ns since 1970."""

    name: str
    kind: str
    parent: str
    labels: Mapping[str, str]
    created_at: int
    updated_at: int


class Usage(Record):
    """What a snapshot itself takes, without its parents: bytes on disk, and inodes."""

    size: int
    inodes: int


class Table:
    """The snapshots of one snapshotter in one namespace."""

    def __init__(self, snapshotter: str, namespace: str) -> None:
        self._snapshotter = snapshotter
        self._namespace = namespace
        self._scope = (snapshotter, namespace)

    def create(
        self, tx: WriteTransaction, kind: str, key: str, parent: str | None, labels: Mapping[str, str] | None
    ) -> Snapshot:
        """Add an active snapshot or a view upon a committed parent, or upon nothing.

        Raises NotFound for a missing parent, InvalidArgument for one that is not committed,
        AlreadyExists when the key is taken.
        """
        validate_name(key, "snapshot key")
        namespaces.ensure(tx, self._namespace)
        parent_id = self._committed(tx, parent) if parent else None
        if self._row(tx, key) is not None:
            raise AlreadyExists(f"snapshot {key!r}: already exists")
        now = clock.now()
        number = tx.insert(
            "INSERT INTO snapshots"
            " (snapshotter, namespace, key, parent, kind, labels, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*self._scope, key, parent_id, kind, label_column.encode(labels), now, now),
        )
        return Snapshot(number, kind, _chain(tx, parent_id))

    def get(self, tx: Transaction, key: str) -> Snapshot:
        """Any snapshot, with its parents. Raises NotFound."""
        number, kind, parent = self._need(tx, key)
        return Snapshot(number, kind, _chain(tx, parent))

    def committable(self, tx: Transaction, name: str, key: str) -> Snapshot:
        """The active snapshot that is to be committed as `name`.

        Raises NotFound, AlreadyExists when the name is taken, FailedPrecondition unless active.
        """
        validate_name(name, "snapshot name")
        snapshot = self.get(tx, key)
        if self._row(tx, name) is not None:
            raise AlreadyExists(f"snapshot {name!r}: already exists")
        if snapshot.kind != ACTIVE:
            raise FailedPrecondition(
                f"snapshot {key!r}: is {snapshot.kind}, and only active ones can be committed"
            )
        return snapshot

    def commit(
        self,
        tx: WriteTransaction,
        snapshot: Snapshot,
        name: str,
        labels: Mapping[str, str] | None,
        usage: Usage | None,
    ) -> None:
        """Make a snapshot a committed one of another name."""
        now = clock.now()
        size, inodes = (usage.size, usage.inodes) if usage else (None, None)
        tx.change(
            "UPDATE snapshots SET key = ?, kind = ?, labels = ?, size = ?, inodes = ?,"
            " created_at = ?, updated_at = ? WHERE id = ?",
            (name, COMMITTED, label_column.encode(labels), size, inodes, now, now, snapshot.id),
        )

    def remove(self, tx: WriteTransaction, key: str) -> Snapshot:
        """Forget a snapshot. Raises NotFound, FailedPrecondition while it is a parent."""
        number, kind, _ = self._need(tx, key)
        child = tx.first("SELECT key FROM snapshots WHERE parent = ? LIMIT 1", (number,))
        if child is not None:
            raise FailedPrecondition(
                f"snapshot {key!r}: is the parent of {child[0]!r}: remove that one first"
            )
        tx.change("DELETE FROM snapshots WHERE id = ?", (number,))
        return Snapshot(number, kind)

    def stat(self, tx: Transaction, key: str) -> Info:
        """What clients see of a snapshot. Raises NotFound."""
        row = tx.first(f"{_INFO} AND own.key = ?", (*self._scope, key))
        if row is None:
            raise _missing(key)
        return _info(row)

    def exists(self, tx: Transaction, key: str) -> bool:
        """Whether there is a snapshot of that key or name."""
        return self._row(tx, key) is not None

    def walk(self, tx: Transaction) -> tuple[Info, ...]:
        """All snapshots, parents before their children."""
        return tuple(map(_info, tx.execute(f"{_INFO} ORDER BY own.id", self._scope)))

    def update(self, tx: WriteTransaction, key: str, labels: Mapping[str, str]) -> Info:
        """Replace a snapshot's labels. Raises NotFound, InvalidArgument."""
        number, _, _ = self._need(tx, key)
        tx.change(
            "UPDATE snapshots SET labels = ?, updated_at = ? WHERE id = ?",
            (label_column.encode(labels), clock.now(), number),
        )
        return self.stat(tx, key)

    def usage(self, tx: Transaction, key: str) -> Usage | None:
        """The usage that was kept of a committed snapshot, if it was. Raises NotFound."""
        number, _, _ = self._need(tx, key)
        row = tx.first("SELECT size, inodes FROM snapshots WHERE id = ?", (number,))
        return None if row is None or row[0] is None else Usage(*row)

    def keep_usage(self, tx: WriteTransaction, key: str, usage: Usage) -> None:
        """Keep the usage of a committed snapshot, which does not change any more."""
        number, _, _ = self._need(tx, key)
        values = (usage.size, usage.inodes, number)
        tx.change("UPDATE snapshots SET size = ?, inodes = ? WHERE id = ?", values)

    def _row(self, tx: Transaction, key: str) -> Row | None:
        return tx.first(
            "SELECT id, kind, parent FROM snapshots WHERE snapshotter = ? AND namespace = ? AND key = ?",
            (*self._scope, key),
        )

    def _need(self, tx: Transaction, key: str) -> Row:
        row = self._row(tx, key)
        if row is None:
            raise _missing(key)
        return row

    def _committed(self, tx: Transaction, parent: str) -> int:
        row = self._row(tx, parent)
        if row is None:
            raise NotFound(f"snapshot {parent!r}: is to be a parent, but there is none of that name")
        number, kind, _ = row
        if kind != COMMITTED:
            raise InvalidArgument(f"snapshot {parent!r}: is {kind}, and a parent must be committed")
        return int(number)


def numbers(tx: Transaction, snapshotter: str) -> frozenset[int]:
    """The ids of all snapshots of a snapshotter, in every namespace."""
    return frozenset(
        row[0] for row in tx.execute("SELECT id FROM snapshots WHERE snapshotter = ?", (snapshotter,))
    )


_INFO = (
    "SELECT own.key, own.kind, ifnull(parent.key, ''), own.labels, own.created_at, own.updated_at"
    " FROM snapshots AS own LEFT JOIN snapshots AS parent ON own.parent = parent.id"
    " WHERE own.snapshotter = ? AND own.namespace = ?"
)


def _info(row: Row) -> Info:
    name, kind, parent, labels, created_at, updated_at = row
    return Info(name, kind, parent, label_column.decode(labels), created_at, updated_at)


def _chain(tx: Transaction, number: int | None) -> tuple[int, ...]:
    """A snapshot and all it grew from, nearest first."""
    if number is None:
        return ()
    sql = (
        "WITH RECURSIVE chain (id, depth) AS (VALUES (?, 0) UNION ALL"
        " SELECT snapshots.parent, depth + 1 FROM chain JOIN snapshots ON snapshots.id = chain.id"
        " WHERE snapshots.parent IS NOT NULL) SELECT id FROM chain ORDER BY depth"
    )
    return tuple(row[0] for row in tx.execute(sql, (number,)))


def _missing(key: str) -> NotFound:
    return NotFound(f"snapshot {key!r}: there is none")
