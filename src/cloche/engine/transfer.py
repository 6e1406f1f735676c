"""Images into and out of archives."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

    from cloche.engine.context import Context
    from cloche.engine.images import Image
    from cloche.spec.platform import Platform


def load(context: Context, source: str | BinaryIO, name: str) -> list[str]:
    """Bring an archive's images here, unpacked; their full names."""
    from cloche.image import archive
    from cloche.store.collect import Store, collect

    stores = Store(context.root, context.metadata, context.content)
    rows = archive.load(
        source,
        content=context.content,
        metadata=context.metadata,
        namespace=context.namespace,
        snapshotter=context.snapshotter(),
        base_name=name,
        discard=lambda digests: collect(stores, released=digests),
    )
    return [row.name for row in rows]


def save(
    context: Context,
    images: Sequence[Image],
    write: Callable[[bytes], object],
    platform: Platform | None,
) -> None:
    """Write images to an archive."""
    from cloche.image import export

    export.save(
        [image.reference for image in images],
        write,
        content=context.content,
        metadata=context.metadata,
        namespace=context.namespace,
        platform=platform,
    )
