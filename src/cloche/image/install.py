"""The last step of whatever brings an image: unpacked and named in one transaction."""

from __future__ import annotations

from cloche.image import closure, resolve
from cloche.image.processors import NONE
from cloche.image.unpack import Unpacking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.image.layer import LayerLimits
    from cloche.image.processors import Processors
    from cloche.image.resolve import Chosen
    from cloche.store.content import ContentStore
    from cloche.store.images import Image
    from cloche.store.metadata import Metadata
    from cloche.store.snapshots.local import LocalSnapshotter


def install(
    name: str,
    chosen: Chosen,
    *,
    content: ContentStore,
    metadata: Metadata,
    namespace: str,
    platform: str,
    snapshotter: LocalSnapshotter | None,
    limits: LayerLimits | None = None,
    labels: Mapping[str, str] | None = None,
    processors: Processors = NONE,
) -> Image:
    """Unpack an image whose blobs are all here, give it its name, and return its row.

    name: the full one. platform: under which the choice is remembered. snapshotter: where it is
    unpacked; None leaves it packed. labels: of the row. processors: for layers of other types.
    Raises as `unpack`.
    """
    if snapshotter is None:
        with metadata.write() as tx:
            return closure.record(tx, namespace, name, chosen, platform=platform, labels=labels)
    resolve.check_layers(chosen.manifest, processors, name)
    with Unpacking(
        chosen.manifest,
        chosen.config,
        content=content,
        metadata=metadata,
        snapshotter=snapshotter,
        limits=limits,
        processors=processors,
    ) as unpacking:
        unpacking.extract()
        with metadata.write() as tx:
            unpacking.commit(tx)
            return closure.record(
                tx, namespace, name, chosen, platform=platform, snapshotter=snapshotter.name, labels=labels
            )
