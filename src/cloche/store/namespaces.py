"""Namespaces: separate sets of names for images, containers, snapshots and leases.

One comes to be with the first thing put into it, as in containerd, and goes by `delete`.
"""

from __future__ import annotations

from cloche.errors import AlreadyExists, FailedPrecondition, NotFound
from cloche.store import labels as label_column
from cloche.store.identifiers import validate_identifier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.store.metadata import Transaction, WriteTransaction

_HOLDERS = ("images", "containers", "snapshots", "leases", "blob_labels", "sandboxes")


def ensure(tx: WriteTransaction, name: str) -> None:
    """Make the namespace unless it is there. Raises InvalidArgument for a name that cannot be one."""
    if tx.first("SELECT 1 FROM namespaces WHERE name = ?", (name,)) is None:
        validate_identifier(name, "namespace")
        tx.change("INSERT INTO namespaces VALUES (?, '')", (name,))


def create(tx: WriteTransaction, name: str, labels: Mapping[str, str] | None = None) -> None:
    """Make a namespace. Raises AlreadyExists, InvalidArgument."""
    validate_identifier(name, "namespace")
    if tx.first("SELECT 1 FROM namespaces WHERE name = ?", (name,)):
        raise AlreadyExists(f"namespace {name!r}: already exists")
    tx.change("INSERT INTO namespaces VALUES (?, ?)", (name, label_column.encode(labels)))


def get(tx: Transaction, name: str) -> dict[str, str] | None:
    """The labels of a namespace, or None when there is no such namespace."""
    row = tx.first("SELECT labels FROM namespaces WHERE name = ?", (name,))
    return None if row is None else label_column.decode(row[0])


def list(tx: Transaction) -> tuple[str, ...]:  # noqa: A001 - reads as namespaces.list
    """The names of all namespaces, sorted."""
    return tuple(row[0] for row in tx.execute("SELECT name FROM namespaces ORDER BY name"))


def update(tx: WriteTransaction, name: str, labels: Mapping[str, str]) -> None:
    """Replace a namespace's labels. Raises NotFound, InvalidArgument."""
    text = label_column.encode(labels)
    if not tx.change("UPDATE namespaces SET labels = ? WHERE name = ?", (text, name)):
        raise NotFound(f"namespace {name!r}: there is none")


def delete(tx: WriteTransaction, name: str) -> None:
    """Remove an empty namespace. Raises NotFound, FailedPrecondition while something is in it."""
    for table in _HOLDERS:
        if tx.first(f"SELECT 1 FROM {table} WHERE namespace = ? LIMIT 1", (name,)):
            what = "content" if table == "blob_labels" else table
            raise FailedPrecondition(f"namespace {name!r}: is not empty, it has {what}: remove those first")
    if not tx.change("DELETE FROM namespaces WHERE name = ?", (name,)):
        raise NotFound(f"namespace {name!r}: there is none")
