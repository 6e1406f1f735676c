"""Removing images: names first, then what nothing refers to any more."""

from __future__ import annotations

from cloche.engine.kept import Kept
from cloche.engine.names import is_hexadecimal
from cloche.errors import FailedPrecondition, InvalidArgument
from cloche.spec import reference as references
from cloche.store import containers
from cloche.store import images as store
from cloche.store.collect import Collected, Store, collect, released_now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.engine.context import Context
    from cloche.engine.images import Images
    from cloche.store.metadata import Transaction


def remove(context: Context, images: Images, reference: str, *, force: bool) -> list[str]:
    """See `Images.remove`."""
    with context.metadata.write() as tx:
        row = images.find(tx, reference)
        digest = row.target.digest
        named = [each for each in store.list(tx, context.namespace) if each.target.digest == digest]
        by_id = is_hexadecimal(reference.removeprefix("sha256:")) and not _is_name(tx, context, reference)
        going = named if by_id else [row]
        if len(going) > 1 and not force:
            raise FailedPrecondition(
                f"cannot remove image {reference}: it has {len(going)} names: remove them, or use force"
            )
        if len(going) == len(named):
            _refuse_used(tx, context, digest, reference, force=force)
        for each in going:
            store.delete(tx, context.namespace, each.name)
    lines = [f"Untagged: {references.familiar(each.name)}" for each in going]
    if len(going) == len(named):
        lines += _collected(context, digest)
    return lines


def _is_name(tx: Transaction, context: Context, reference: str) -> bool:
    try:
        return store.get(tx, context.namespace, str(references.parse(reference))) is not None
    except InvalidArgument:
        return False


def _refuse_used(tx: Transaction, context: Context, digest: str, reference: str, *, force: bool) -> None:
    """Docker lets force take the names of an image that only stopped containers use."""
    from cloche.engine import status

    for row in containers.list(tx, context.namespace):
        if Kept.of(row).image_digest != digest:
            continue
        running = status.of(context, row.id).running
        if running or not force:
            what = "is being used by running container" if running else "is being used by stopped container"
            raise FailedPrecondition(f"cannot remove image {reference}: it {what} {row.id[:12]}")


def _collected(context: Context, digest: str) -> list[str]:
    return [f"Deleted: {each}" for each in collect_released(context, released_now(digest)).content]


def collect_released(context: Context, released: Mapping[str, int]) -> Collected:
    """Remove what only images with these targets referred to, now that their names are gone.

    released: the targets' digests, and when the names went, in ns since 1970.
    """
    return collect(_store(context), released=released)


def prune(context: Context) -> list[str]:
    """See `Images.prune`."""
    collected = collect(_store(context))
    return [f"Deleted: {each}" for each in collected.content]


def _store(context: Context) -> Store:
    return Store(context.root, context.metadata, context.content)
