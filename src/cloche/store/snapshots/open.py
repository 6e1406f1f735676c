"""Snapshotters by name."""

from __future__ import annotations

import os

from cloche.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from cloche.store.snapshots.local import LocalSnapshotter

    class Make(Protocol):
        """What an entry point of the group `cloche.snapshotters` is: it makes a snapshotter for a namespace.

        root: the snapshotter's own directory. name: of the entry point, which its rows carry. What is made
        has the interface of LocalSnapshotter; the least work is a class derived from it that says, in
        `make`, `tree` and `shown`, what is in a snapshot's directory (as our own two do).
        `capabilities` and `exports` of the class, where it has them, are listed.
        """

        def __call__(self, root: str, name: str, *, namespace: str) -> LocalSnapshotter: ...


NAMES = ("overlayfs", "native")
_INTERFACE = (
    *("prepare", "view", "mounts", "commit", "remove", "stat", "exists", "walk", "update", "usage"),
    *("disk_usage", "sync", "cleanup", "leftovers", "purge"),
)


def snapshotter(name: str, root: str, namespace: str = "default") -> LocalSnapshotter:
    """The snapshotter of that name for one namespace: ours, or one that an installed package brings.

    root: Cloche's durable root; each snapshotter has its own directory in ROOT/snapshots.
    Raises NotFound for a name that nobody has, Unavailable where its package does not work.
    """
    directory = f"{root}/snapshots/{name}"
    if name == "overlayfs":
        from cloche.store.snapshots.overlayfs import Overlayfs

        return Overlayfs(directory, namespace=namespace)
    if name == "native":
        from cloche.store.snapshots.native import Native

        return Native(directory, namespace=namespace)
    return _brought(name, directory, namespace)


def of_root(root: str) -> Iterator[LocalSnapshotter]:
    """Ours, and those of others that have a directory in a root and can be used."""
    for name in (*NAMES, *sorted(set(_directories(f"{root}/snapshots")) - set(NAMES))):
        try:
            found = snapshotter(name, root)
        except Exception:  # what another package's does not do must not keep ours from being collected
            if name in NAMES:
                raise
            continue
        yield found


def _brought(name: str, directory: str, namespace: str) -> LocalSnapshotter:
    from cloche.store import entry_points

    if entry_points.part(entry_points.SNAPSHOTTERS, name) is None:
        known = ", ".join((*NAMES, *entry_points.names(entry_points.SNAPSHOTTERS)))
        raise NotFound(f"snapshotter {name!r}: there is none of that name, only {known}")
    found: LocalSnapshotter = entry_points.made(
        entry_points.SNAPSHOTTERS, name, _INTERFACE, directory, name, namespace=namespace
    )
    return found


def _directories(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []
