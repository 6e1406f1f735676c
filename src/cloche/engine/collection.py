"""What processes that were killed have left behind on a root: found by their free locks, and removed."""

from __future__ import annotations

import os

from cloche.engine import networking
from cloche.errors import ClocheError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.engine.context import Context
    from cloche.store.leases import Resource
    from cloche.store.metadata import WriteTransaction


def collect(context: Context) -> None:
    """Remove containers whose run lease is over, and the belongings of dead owners.

    Costs one listing of two directories where every owner lives. What cannot be removed now stays for
    the next engine.
    """
    networking.sweep(context)
    try:
        owners = os.listdir(context.leases)
    except FileNotFoundError:
        return
    from cloche.store import locks

    dead = [name for name in owners if not locks.is_locked(f"{context.leases}/{name}")]
    if not dead:
        return
    _remove_orphans(context)
    from cloche.engine.ephemeral import clear_after

    for name in dead:
        clear_after(context, name)
    _end_leases(context)


def _remove_orphans(context: Context) -> None:
    from cloche.engine.removal import remove
    from cloche.store.collect import orphans

    with context.metadata.read() as tx:
        found = orphans(tx, context.root)
    for row in found:
        owned = context if row.namespace == context.namespace else context.beside(row.namespace)
        try:
            remove(owned, row, force=True, volumes=True)
        except (ClocheError, OSError):
            continue


def _end_leases(context: Context) -> None:
    """Leases that nothing dies with any more, with the snapshots that only they kept."""
    from cloche.store import containers, leases

    with context.metadata.write() as tx:
        for lease in leases.over(tx, context.leases):
            if containers.owned(tx, lease.namespace, lease.id):
                continue
            for resource in leases.resources(tx, lease.namespace, lease.id):
                _release(context, tx, lease.namespace, resource)
            leases.delete(tx, lease.namespace, lease.id)
        named = frozenset(lease.owner for lease in leases.list(tx))
    context.snapshotter().purge()
    leases.sweep_owners(context.leases, named)


def _release(context: Context, tx: WriteTransaction, namespace: str, resource: Resource) -> None:
    """Remove a view that a dead process had; what else a lease keeps is the collector's business."""
    from cloche.store.snapshots.rows import VIEW

    kind, _, name = resource.kind.partition("/")
    if kind != "snapshots":
        return
    owned = context if namespace == context.namespace else context.beside(namespace)
    try:
        snapshotter = owned.snapshotter(name)
        if snapshotter.stat(tx, resource.resource).kind == VIEW:
            snapshotter.remove(tx, resource.resource)
    except NotFound:
        pass
