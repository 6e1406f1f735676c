"""Snapshotters by name."""

from __future__ import annotations

from cloche.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.store.snapshots.local import LocalSnapshotter

NAMES = ("overlayfs", "native")


def snapshotter(name: str, root: str, namespace: str = "default") -> LocalSnapshotter:
    """The snapshotter of that name for one namespace.

    root: Cloche's durable root; each snapshotter has its own directory in ROOT/snapshots.
    Raises NotFound for a name that is not in NAMES.
    """
    directory = f"{root}/snapshots/{name}"
    if name == "overlayfs":
        from cloche.store.snapshots.overlayfs import Overlayfs

        return Overlayfs(directory, namespace=namespace)
    if name == "native":
        from cloche.store.snapshots.native import Native

        return Native(directory, namespace=namespace)
    raise NotFound(f"snapshotter {name!r}: there is none of that name, only {' and '.join(NAMES)}")
