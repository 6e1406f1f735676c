"""Labels of content: what a namespace noted on a blob, such as what the blob refers to.

The content itself is shared by all namespaces and knows nothing of this: that a namespace noted
something, be it no label at all, is what makes a blob one of its own.
"""

from __future__ import annotations

from cloche.spec import digest as digests
from cloche.spec.record import Record
from cloche.store import clock, namespaces
from cloche.store import labels as label_column

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.store.metadata import Reader, Row, Transaction, WriteTransaction


class Note(Record):
    """What one namespace knows of a blob; times in ns since 1970."""

    digest: str
    labels: Mapping[str, str]
    created_at: int
    updated_at: int


_COLUMNS = "digest, labels, created_at, updated_at"


def has(reader: Reader, namespace: str, digest: str) -> bool:
    """Whether a namespace knows a blob at all."""
    sql = "SELECT 1 FROM blob_labels WHERE namespace = ? AND digest = ?"
    return reader.first(sql, (namespace, digest)) is not None


def note(tx: Reader, namespace: str, digest: str) -> Note | None:
    """What a namespace knows of a blob; None where it is none of its own."""
    sql = f"SELECT {_COLUMNS} FROM blob_labels WHERE namespace = ? AND digest = ?"
    row = tx.first(sql, (namespace, digest))
    return None if row is None else _note(row)


def notes(tx: Transaction, namespace: str) -> tuple[Note, ...]:
    """What a namespace knows of all its blobs, by digest."""
    sql = f"SELECT {_COLUMNS} FROM blob_labels WHERE namespace = ? ORDER BY digest"
    return tuple(map(_note, tx.execute(sql, (namespace,))))


def _note(row: Row) -> Note:
    digest, labels, created_at, updated_at = row
    return Note(digest, label_column.decode(labels), created_at, updated_at)


def get(tx: Transaction, namespace: str, digest: str) -> dict[str, str]:
    """The labels of a blob in a namespace; none are an empty dictionary."""
    row = tx.first("SELECT labels FROM blob_labels WHERE namespace = ? AND digest = ?", (namespace, digest))
    return {} if row is None else label_column.decode(row[0])


def update(
    tx: WriteTransaction, namespace: str, digest: str, changes: Mapping[str, str | None]
) -> dict[str, str]:
    """Set some labels, and remove those given as None or empty; returns them all.

    Raises InvalidArgument for what is no digest or no label.
    """
    digests.validate(digest)
    labels = label_column.merged(get(tx, namespace, digest), changes)
    namespaces.ensure(tx, namespace)
    now = clock.now()
    tx.change(
        "INSERT INTO blob_labels VALUES (?, ?, ?, ?, ?) ON CONFLICT (namespace, digest)"
        " DO UPDATE SET labels = excluded.labels, updated_at = excluded.updated_at",
        (namespace, digest, label_column.encode(labels), now, now),
    )
    return labels


def delete(tx: WriteTransaction, namespace: str, digest: str) -> None:
    """Forget what a namespace noted on a blob, if anything."""
    tx.change("DELETE FROM blob_labels WHERE namespace = ? AND digest = ?", (namespace, digest))
