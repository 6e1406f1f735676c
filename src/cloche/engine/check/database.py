"""Whether the metadata database is whole."""

from __future__ import annotations

from cloche.engine.check.finding import Fault
from cloche.errors import DataLoss

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.engine.context import Context


def fault(context: Context) -> Fault | None:
    """What SQLite finds wrong with meta.db, which it reads as a whole."""
    try:
        with context.metadata.read() as tx:
            found = [str(row[0]) for row in tx.execute("PRAGMA integrity_check(1)")]
    except DataLoss as error:
        found = [str(error).partition("damaged (")[2].partition(")")[0] or str(error)]
    if found == ["ok"]:
        return None
    path = context.metadata.path
    return Fault("database", path, f"damaged: {found[0]}", "move it away")
