"""Images into and out of archives."""

from __future__ import annotations

import os

from cloche.errors import InvalidArgument
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import BinaryIO

    from cloche.engine.context import Context
    from cloche.engine.images import Image
    from cloche.image.compression import Source
    from cloche.spec.platform import Platform


class Imported(Record):
    """names: full ones of the images that are here now. is_root: it was a root file system."""

    names: tuple[str, ...]
    is_root: bool


def load(context: Context, source: str | Source, name: str) -> list[str]:
    """Bring an archive's images here, unpacked; their full names."""
    from cloche.image import archive

    rows = archive.load(
        source,
        content=context.content,
        metadata=context.metadata,
        namespace=context.namespace,
        snapshotter=context.snapshotter(),
        base_name=name,
        processors=context.processors,
        discard=_discard(context),
    )
    return [row.name for row in rows]


def take_in(
    context: Context,
    source: str | BinaryIO,
    name: str,
    *,
    changes: Sequence[str],
    message: str,
    platform: Platform | None,
) -> Imported:
    """`load` an archive of images, or make an image of an archive of a root file system."""
    from cloche.image import root_archive

    given = bool(changes or message or platform)
    if isinstance(source, str) and os.path.isdir(source):
        return _loaded(context, source, name, refused=given)
    with root_archive.Archive(source, source if isinstance(source, str) else "-") as archive:
        if root_archive.holds_images(archive):
            return _loaded(context, archive, name, refused=given)
        row = root_archive.build(
            archive,
            name=name,
            content=context.content,
            metadata=context.metadata,
            namespace=context.namespace,
            snapshotter=context.snapshotter(),
            changes=changes,
            message=message,
            platform=platform,
            discard=_discard(context),
        )
    return Imported((row.name,), is_root=True)


def _loaded(context: Context, source: str | Source, name: str, *, refused: bool) -> Imported:
    if refused:
        raise InvalidArgument(
            "an archive of images keeps its own settings: change, message and platform "
            "are for one of a root file system"
        )
    return Imported(tuple(load(context, source, name)), is_root=False)


def _discard(context: Context) -> Callable[[Iterable[str]], object]:
    """Collects at once what came with an archive that is refused."""
    from cloche.store.collect import Store, collect, released_now

    stores = Store(context.root, context.metadata, context.content)
    return lambda digests: collect(stores, released=released_now(*digests))


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
