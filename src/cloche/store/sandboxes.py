"""Sandboxes: pods as clients keep them. What runs of one is its shim's to know."""

from __future__ import annotations

from cloche.errors import AlreadyExists, NotFound
from cloche.spec.record import Record
from cloche.store import clock, namespaces
from cloche.store import labels as label_column
from cloche.store.identifiers import validate_identifier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.store.metadata import Row, Transaction, WriteTransaction


class Sandbox(Record):
    """A sandbox as it is kept. record: what else its clients say of it, encoded; times in ns since 1970."""

    id: str
    namespace: str
    labels: Mapping[str, str] = {}
    record: bytes = b""
    created_at: int = 0
    updated_at: int = 0


_COLUMNS = "id, namespace, labels, record, created_at, updated_at"


def create(tx: WriteTransaction, sandbox: Sandbox) -> Sandbox:
    """Add one; returns it with its times. Raises AlreadyExists, InvalidArgument."""
    validate_identifier(sandbox.id, "sandbox id")
    namespaces.ensure(tx, sandbox.namespace)
    if get(tx, sandbox.namespace, sandbox.id) is not None:
        raise AlreadyExists(f"sandbox {sandbox.id!r}: already exists")
    now = clock.now()
    sandbox = sandbox.replace(created_at=now, updated_at=now)
    tx.change(f"INSERT INTO sandboxes ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", _values(sandbox))
    return sandbox


def get(tx: Transaction, namespace: str, sandbox_id: str) -> Sandbox | None:
    """The sandbox with that id, or None."""
    sql = f"SELECT {_COLUMNS} FROM sandboxes WHERE namespace = ? AND id = ?"
    row = tx.first(sql, (namespace, sandbox_id))
    return None if row is None else _sandbox(row)


def list(tx: Transaction, namespace: str) -> tuple[Sandbox, ...]:  # noqa: A001 - reads as sandboxes.list
    """All sandboxes of a namespace, oldest first."""
    sql = f"SELECT {_COLUMNS} FROM sandboxes WHERE namespace = ? ORDER BY created_at, id"
    return tuple(map(_sandbox, tx.execute(sql, (namespace,))))


def update(tx: WriteTransaction, sandbox: Sandbox) -> Sandbox:
    """Replace labels and record. Raises NotFound, InvalidArgument."""
    sandbox = sandbox.replace(updated_at=clock.now())
    done = tx.change(
        "UPDATE sandboxes SET labels = ?, record = ?, updated_at = ? WHERE namespace = ? AND id = ?",
        (*_values(sandbox)[2:4], sandbox.updated_at, sandbox.namespace, sandbox.id),
    )
    if not done:
        raise missing(sandbox.id)
    return sandbox


def delete(tx: WriteTransaction, namespace: str, sandbox_id: str) -> None:
    """Forget a sandbox. Raises NotFound."""
    if not tx.change("DELETE FROM sandboxes WHERE namespace = ? AND id = ?", (namespace, sandbox_id)):
        raise missing(sandbox_id)


def missing(sandbox_id: str) -> NotFound:
    """That there is no such sandbox."""
    return NotFound(f"sandbox {sandbox_id!r}: not found")


def _values(sandbox: Sandbox) -> tuple[str | int | bytes, ...]:
    labels = label_column.encode(sandbox.labels)
    return (
        sandbox.id,
        sandbox.namespace,
        labels,
        sandbox.record,
        sandbox.created_at,
        sandbox.updated_at,
    )


def _sandbox(row: Row) -> Sandbox:
    sandbox_id, namespace, labels, *rest = row
    return Sandbox(sandbox_id, namespace, label_column.decode(labels), *rest)
