"""What a container has changed in its file system."""

from __future__ import annotations

import os

from cloche.engine.mounts import FILES
from cloche.image.diff import difference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.engine.context import Context
    from cloche.spec.mount import Mount
    from cloche.store.containers import Container

_OVERLAY = "overlayfs"
# Made to mount something at, where the image had nothing; Docker hides them in a layer of its own.
_PLACES = ("/proc", "/dev", "/sys", *FILES.values())


def of(context: Context, row: Container) -> list[tuple[str, str]]:
    """See `Container.diff`."""
    snapshotter = context.snapshotter(row.snapshotter)
    with context.metadata.read() as tx:
        mounts = snapshotter.mounts(tx, row.snapshot_key)
        parent = snapshotter.stat(tx, row.snapshot_key).parent
    if snapshotter.name == _OVERLAY or not parent:
        return _changes(mounts, ())
    # A snapshotter that copies has to be asked for what the copy was made from.
    key = f"diff-{os.getpid()}-{os.urandom(8).hex()}"
    with context.metadata.write() as tx:
        before = snapshotter.view(tx, key, parent)
    try:
        return _changes(mounts, before)
    finally:
        with context.metadata.write() as tx:
            snapshotter.remove(tx, key)
        snapshotter.purge()


def _changes(mounts: tuple[Mount, ...], parent: tuple[Mount, ...]) -> list[tuple[str, str]]:
    with difference(mounts, parent) as found:
        changed = {change.path: str(change.kind) for change in found.changes()}
    for path in _PLACES:
        if changed.get(path) == "A":
            del changed[path]
    # /etc counts as changed because of those files alone.
    if changed.get("/etc") == "C" and not any(path.startswith("/etc/") for path in changed):
        del changed["/etc"]
    return [(kind, path) for path, kind in changed.items()]
