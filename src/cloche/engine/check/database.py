"""Whether the metadata database is whole; where it is not, it is moved aside and made anew."""

from __future__ import annotations

import os

from cloche.engine.check import users
from cloche.engine.check.finding import Fault, Finding
from cloche.errors import DataLoss
from cloche.store.metadata import Metadata
from cloche.store.schema import RUN_MIGRATIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.engine.context import Context

_STOP = "stop cloched and what else has it open, then check again with --repair"


def fault(context: Context, told: list[Finding]) -> Fault | None:
    """What SQLite finds wrong with meta.db, which it reads as a whole.

    told: gets what became of images, containers and snapshots once the fault was mended.
    """
    problem = _problem(context.metadata)
    if not problem:
        return None
    path = context.metadata.path
    if users.is_open(path):
        return Fault("database", path, problem, _STOP)
    remedy = "move it to meta.db.damaged-TIME and make it anew from what can be read, blobs and bundles"
    return Fault("database", path, problem, remedy, _rebuilding(context, told))


def events_fault(context: Context) -> Fault | None:
    """As `fault`, of the database of events, of which nothing is worth keeping."""
    path = f"{context.state}/run.db"
    if not os.path.exists(path):
        return None
    with Metadata(path, migrations=RUN_MIGRATIONS) as events:
        problem = _problem(events)
    if not problem:
        return None
    if users.is_open(path):
        return Fault("database", path, problem, _STOP)
    return Fault("database", path, problem, "remove it: it has past events only", _removing(path))


def _problem(metadata: Metadata) -> str:
    """What is wrong with a database, in one line; it is closed if there is something."""
    try:
        with metadata.read() as tx:
            found = [str(row[0]) for row in tx.execute("PRAGMA integrity_check(1)")]
    except DataLoss as error:
        found = [str(error).partition("damaged (")[2].partition(")")[0] or str(error)]
    if found == ["ok"]:
        return ""
    metadata.close()
    return "damaged: " + " ".join(found[0].split())


def _removing(path: str) -> Callable[[], bool]:
    def remove() -> bool:
        for suffix in ("-wal", "-shm", ""):
            try:
                os.unlink(path + suffix)
            except FileNotFoundError:
                continue
        return True

    return remove


def _rebuilding(context: Context, told: list[Finding]) -> Callable[[], bool]:
    def rebuild() -> bool:
        from cloche.engine.check.rebuild import Rebuild

        told.extend(Rebuild(context).run())
        return True

    return rebuild
