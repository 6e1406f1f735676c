"""A snapshot's mounts made real for a test, and never seen by anyone else."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from cloche.kernel.mounts import assemble
from cloche.spec.mount import Mount
from cloche.store.metadata import Metadata
from cloche.store.snapshots.local import LocalSnapshotter


@contextlib.contextmanager
def mounted(mounts: Sequence[Mount]) -> Iterator[Path]:
    """The root of what the mounts show."""
    descriptor = assemble(mounts)
    try:
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def layer(
    metadata: Metadata, snapshotter: LocalSnapshotter, name: str, parent: str | None = None
) -> Iterator[Path]:
    """The root of a new layer, which is committed under its name in the end."""
    key = f"{name} in the making"
    with metadata.write() as tx:
        snapshotter.prepare(tx, key, parent)
    with metadata.read() as tx:
        mounts = snapshotter.mounts(tx, key)
    with mounted(mounts) as root:
        yield root
    with metadata.write() as tx:
        snapshotter.commit(tx, name, key)


@contextlib.contextmanager
def shown(metadata: Metadata, snapshotter: LocalSnapshotter, name: str) -> Iterator[Path]:
    """The root of a view of a committed snapshot."""
    key = f"view of {name} {os.urandom(4).hex()}"
    with metadata.write() as tx:
        mounts = snapshotter.view(tx, key, name)
    with mounted(mounts) as root:
        yield root
    with metadata.write() as tx:
        snapshotter.remove(tx, key)


def tree(root: Path) -> dict[str, str]:
    """What a directory shows: the text of files, the targets of links, and the modes of directories."""
    found = {}
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            path = Path(directory, name)
            relative = str(path.relative_to(root))
            if path.is_symlink():
                found[relative] = "-> " + os.readlink(path)
            elif path.is_dir():
                found[relative] = oct(stat.S_IMODE(path.stat().st_mode))
            else:
                found[relative] = path.read_text()
    return found


def left(snapshots: LocalSnapshotter) -> list[str]:
    """The directories of a snapshotter."""
    return sorted(os.listdir(f"{snapshots.root}/snapshots"))
