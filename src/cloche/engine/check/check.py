"""The whole check of a root, in the order in which one repair makes way for the next.

database      nothing else can be trusted without it
blobs         a damaged one goes before images are looked at
ingests
containers    before the snapshots that they stand upon
snapshots     rows, then directories
images, resolutions, leases
networks      what containers that have ended, or were killed while they started, left of rules and addresses
"""

from __future__ import annotations

from cloche.engine.check import blobs, database, layers, networks, rows
from cloche.store.references import Documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloche.engine.check.blobs import Watcher
    from cloche.engine.check.finding import Fault, Finding
    from cloche.engine.context import Context


def _unwatched(_done: int, _total: int) -> None:
    pass


def check(context: Context, *, repair: bool = False, watch: Watcher = _unwatched) -> Iterator[Finding]:
    """Everything that is wrong on a root, in all namespaces, as it is found.

    repair: mend each before going on, except what is in use. watch: told how far the reading of
    blobs is. Other processes may work meanwhile; what they are at is left alone.
    """
    told: list[Finding] = []
    broken = database.fault(context, told)
    if broken is not None:
        # What was lost with it shows in a second check, after its user has read what was found.
        yield broken.repair() if repair else broken.finding
        yield from told
        return
    for fault in _faults(context, watch):
        yield fault.repair() if repair else fault.finding


def _faults(context: Context, watch: Watcher) -> Iterator[Fault]:
    events = database.events_fault(context)
    if events is not None:
        yield events
    documents = Documents(context.content)
    damaged: set[str] = set()
    for fault in blobs.damaged(context.content, rows.needs(context, documents), watch):
        damaged.add(fault.finding.subject)
        yield fault
    yield from blobs.interrupted(context.content, _leased(context))
    yield from rows.containers_without_root(context)
    yield from layers.faults(context)
    yield from rows.images(context, documents, damaged)
    yield from rows.resolutions(context)
    yield from rows.ended_leases(context)
    yield from networks.faults(context)


def _leased(context: Context) -> frozenset[str]:
    with context.metadata.read() as tx:
        found = tx.execute("SELECT resource FROM lease_resources WHERE kind = 'ingests'")
    return frozenset(row[0] for row in found)
