"""Snapshots: whether every row has its directory, and every directory its row.

Both are looked at inside a write transaction: there no other process is between making a
directory and adding the row, or between two rows that belong together.
"""

from __future__ import annotations

import os

from cloche.engine.check.finding import Fault
from cloche.store.snapshots import rows as snapshot_rows
from cloche.store.snapshots import trash
from cloche.store.snapshots.local import is_being_filled
from cloche.store.snapshots.open import NAMES, snapshotter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cloche.engine.context import Context
    from cloche.store.metadata import Transaction, WriteTransaction
    from cloche.store.snapshots.local import LocalSnapshotter


def faults(context: Context) -> list[Fault]:
    """Snapshots without their directory or their parent, and directories without a snapshot."""
    found: list[Fault] = []
    with context.metadata.write() as tx:
        for name in NAMES:
            found += _incomplete(context, tx, name)
            found += _orphans(context, tx, name)
    return found


def gone(context: Context, tx: Transaction, name: str, number: int) -> bool:
    """Whether a snapshot's own directory should be there and is not."""
    row = tx.first("SELECT kind, parent FROM snapshots WHERE id = ?", (number,))
    return row is not None and _is_gone(snapshotter(name, context.root), number, *row)


def _is_gone(local: LocalSnapshotter, number: int, kind: str, parent: int | None) -> bool:
    if kind == snapshot_rows.VIEW and parent is not None:
        return False  # shows its parent, and has nothing of its own
    base = f"{local.root}/snapshots"
    own = f"{base}/{number}/fs" if local.name == "overlayfs" else f"{base}/{number}"
    return not os.path.isdir(own) and not is_being_filled(f"{base}/new-{number}")


def _incomplete(context: Context, tx: Transaction, name: str) -> Iterator[Fault]:
    local = snapshotter(name, context.root)
    sql = "SELECT id, namespace, key, kind, parent FROM snapshots WHERE snapshotter = ? ORDER BY id DESC"
    rows = tx.execute(sql, (name,))
    numbers = {row[0] for row in rows}
    for number, namespace, key, kind, parent in rows:
        if parent is not None and parent not in numbers:
            problem = f"the snapshot {parent} below it is missing"
        elif _is_gone(local, number, kind, parent):
            problem = f"its directory {local.root}/snapshots/{number} is missing"
        else:
            continue
        users = _users(tx, number)
        subject = f"{name} {key} of {namespace}"
        if users:
            remedy = f"remove {' and '.join(users)}, then check again"
            yield Fault("snapshot", subject, problem, remedy)
        else:
            remedy = "forget it with all upon it; its image is unpacked again when it is wanted"
            yield Fault("snapshot", subject, problem, remedy, _forgetting(context, name, number))


_DESCENDANTS = (
    "WITH RECURSIVE upon (id) AS (VALUES (?) UNION SELECT snapshots.id FROM upon"
    " JOIN snapshots ON snapshots.parent = upon.id)"
)


def _users(tx: Transaction, number: int) -> list[str]:
    """The containers that stand upon a snapshot."""
    sql = (
        f"{_DESCENDANTS} SELECT containers.namespace, containers.id FROM upon"
        " JOIN snapshots ON snapshots.id = upon.id"
        " JOIN containers ON containers.namespace = snapshots.namespace"
        " AND containers.snapshotter = snapshots.snapshotter AND snapshot_key = key"
    )
    return [f"container {container} of {namespace}" for namespace, container in tx.execute(sql, (number,))]


def _forgetting(context: Context, name: str, number: int) -> Callable[[], bool]:
    def forget() -> bool:
        local = snapshotter(name, context.root)
        with context.metadata.write() as tx:
            if _users(tx, number) or not _still_wrong(context, tx, name, number):
                return False
            sql = f"{_DESCENDANTS} SELECT id FROM upon ORDER BY id DESC"
            for (each,) in tx.execute(sql, (number,)):
                _forget(tx, local, each)
        local.purge()
        return True

    return forget


def _still_wrong(context: Context, tx: Transaction, name: str, number: int) -> bool:
    row = tx.first("SELECT parent FROM snapshots WHERE id = ?", (number,))
    if row is None:
        return False
    parentless = row[0] is not None and not tx.first("SELECT 1 FROM snapshots WHERE id = ?", (row[0],))
    return parentless or gone(context, tx, name, number)


def _forget(tx: WriteTransaction, local: LocalSnapshotter, number: int) -> None:
    tx.change("DELETE FROM snapshots WHERE id = ?", (number,))
    path = f"{local.root}/snapshots/{number}"
    tx.after_commit(lambda: trash.discard(path, f"{local.root}/trash"))


def _orphans(context: Context, tx: WriteTransaction, name: str) -> Iterator[Fault]:
    local = snapshotter(name, context.root)
    for entry in local.leftovers(tx):
        path = f"{local.root}/snapshots/{entry}"
        problem, remedy = "belongs to no snapshot", "move it to the trash"
        yield Fault("snapshot", path, problem, remedy, _sweeping(context, name))


def _sweeping(context: Context, name: str) -> Callable[[], bool]:
    def sweep() -> bool:
        local = snapshotter(name, context.root)
        with context.metadata.write() as tx:
            local.cleanup(tx)
        local.purge()
        return True

    return sweep
