"""What can still be read of a damaged database: every row that lies on an undamaged page."""

from __future__ import annotations

from cloche.errors import ClocheError
from cloche.store import labels as label_column
from cloche.store.sqlite import Connection, DatabaseError, connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloche.store.metadata import Row

TABLES = (
    "namespaces",
    "images",
    "resolutions",
    "containers",
    "snapshots",
    "leases",
    "lease_resources",
    "blob_labels",
    "sandboxes",
)
_TYPES: dict[str, tuple[type, ...]] = {
    "TEXT": (str,),
    "INTEGER": (int, type(None)),
    "BLOB": (bytes,),
}


def rows(path: str, model: Connection) -> dict[str, list[Row]]:
    """The rows of every table as far as they can be read, from both ends of each.

    path: of the damaged database. model: a whole database with the same tables, which says what a
    row must look like; what does not is left out.
    """
    try:
        damaged = connect(path, isolation_level=None)
    except DatabaseError:
        return {table: [] for table in TABLES}
    try:
        return {table: _table(damaged, model, table) for table in TABLES}
    finally:
        damaged.close()


def _table(damaged: Connection, model: Connection, table: str) -> list[Row]:
    columns = model.execute(f"PRAGMA table_info({table})").fetchall()
    keys = ", ".join(f"{column[1]}" for column in sorted(columns, key=lambda each: each[5]) if column[5])
    found: dict[Row, None] = {}
    for order in ("", " DESC"):
        by = ", ".join(key + order for key in (keys or "rowid").split(", "))
        for row in _until_damage(damaged, f"SELECT * FROM {table} ORDER BY {by}"):
            if _is_whole(row, columns):
                found[row] = None
    return list(found)


def _until_damage(damaged: Connection, sql: str) -> Iterator[Row]:
    try:
        yield from damaged.execute(sql)
    except (DatabaseError, UnicodeDecodeError):
        return


def _is_whole(row: Row, columns: list[Row]) -> bool:
    if len(row) != len(columns):
        return False
    for value, (_, name, kind, *_) in zip(row, columns, strict=True):
        if not isinstance(value, _TYPES.get(kind, (object,))):
            return False
        if name in ("labels", "annotations") and value:
            try:
                label_column.decode(str(value))
            except ClocheError:
                return False
    return True
