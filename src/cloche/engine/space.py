"""What images, containers and volumes take on disk, and what would be free without the unused ones."""

from __future__ import annotations

import os

from cloche.engine import status
from cloche.engine.kept import Kept
from cloche.errors import NotFound
from cloche.spec.record import Record
from cloche.store import containers, images
from cloche.store.references import Documents
from cloche.store.snapshots.disk_usage import disk_usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cloche.engine.context import Context
    from cloche.store.metadata import Transaction


class Space(Record):
    """One kind of thing. total, active: how many there are and are in use; reclaimable_bytes: what
    those not in use have for themselves."""

    kind: str
    total: int
    active: int
    size_bytes: int
    reclaimable_bytes: int


def measure(context: Context) -> tuple[Space, Space, Space]:
    """Images (blobs and unpacked layers), containers (what they wrote) and volumes, in this order.

    Of images and containers those of this namespace are counted; volumes are everybody's.
    """
    with context.metadata.read() as tx:
        rows = containers.list(tx, context.namespace)
        kept = {row.id: Kept.of(row) for row in rows}
        running = {row.id for row in rows if status.of(context, row.id).running}
        return (
            _images(context, tx, kept.values()),
            _containers(context, tx, rows, running),
            _volumes(context, kept.values()),
        )


def taken(context: Context) -> int:
    """Bytes on disk of everything of this root that is kept for images, containers and volumes."""
    places = ("content/blobs", "snapshots", "volumes", "containers")
    paths = [f"{context.root}/{place}" for place in places]
    return sum(disk_usage(path).size for path in paths if os.path.isdir(path))


def _images(context: Context, tx: Transaction, kept: Iterable[Kept]) -> Space:
    used = {each.image_digest for each in kept}
    chains = {each.image_digest: each.chain_id for each in kept}
    parts: dict[str, dict[str, int]] = {}
    documents = Documents(context.content)
    for row in images.list(tx, context.namespace):
        digest = row.target.digest
        if digest not in parts:
            parts[digest] = _blobs(context, documents, digest)
            found = images.resolution(tx, digest, _host_platform())
            for chain in {chains.get(digest, ""), found.chain_id if found is not None else ""}:
                parts[digest] |= _layers(context, tx, chain)
    everything, needed = _union(parts.values()), _union(parts[each] for each in used if each in parts)
    size, active = sum(everything.values()), sum(each in used for each in parts)
    return Space("Images", len(parts), active, size, size - sum(needed.values()))


def _host_platform() -> str:
    from cloche.spec import platform

    return str(platform.of_machine(os.uname().machine))


def _union(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    everything: dict[str, int] = {}
    for each in parts:
        everything |= each
    return everything


def _blobs(context: Context, documents: Documents, digest: str) -> dict[str, int]:
    """The size of each blob that an image's target leads to and that is here."""
    found: dict[str, int] = {}
    waiting = [digest]
    while waiting:
        each = waiting.pop()
        if each in found:
            continue
        try:
            found[each] = context.content.size(each)
        except NotFound:
            continue
        waiting += documents.children(each)
    return found


def _layers(context: Context, tx: Transaction, chain: str) -> dict[str, int]:
    """The size of each unpacked layer of a chain."""
    found: dict[str, int] = {}
    snapshotter = context.snapshotter()
    while chain and snapshotter.exists(tx, chain):
        found[f"layer {chain}"] = snapshotter.usage(tx, chain).size
        chain = snapshotter.stat(tx, chain).parent
    return found


def _containers(
    context: Context, tx: Transaction, rows: Sequence[containers.Container], running: set[str]
) -> Space:
    size = reclaimable = 0
    for row in rows:
        try:
            bytes_ = context.snapshotter(row.snapshotter).usage(tx, row.snapshot_key).size
        except NotFound:
            continue
        size += bytes_
        reclaimable += 0 if row.id in running else bytes_
    return Space("Containers", len(rows), len(running), size, reclaimable)


def _volumes(context: Context, kept: Iterable[Kept]) -> Space:
    used = {name for each in kept for name in each.volumes.values()}
    try:
        names = os.listdir(f"{context.root}/volumes")
    except FileNotFoundError:
        names = []
    sizes = {name: disk_usage(f"{context.root}/volumes/{name}").size for name in names}
    free = sum(size for name, size in sizes.items() if name not in used)
    return Space("Local Volumes", len(names), len(used & set(names)), sum(sizes.values()), free)
