"""Images: names for content, and what those names were once found to mean.

An image's target is an index or a manifest. A resolution keeps the answer to "which manifest,
configuration and layers is that on this platform?", so that starting a container from an unpacked
image reads neither. It depends on content alone, so it never becomes wrong.
"""

from __future__ import annotations

from cloche.errors import AlreadyExists, InvalidArgument, NotFound
from cloche.spec import digest as digests
from cloche.spec.record import Record
from cloche.store import clock, namespaces
from cloche.store import labels as label_column
from cloche.store.identifiers import validate_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.store.metadata import Row, Transaction, WriteTransaction


class Target(Record):
    """What an image's name stands for: a descriptor of its index or manifest."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = {}


class Image(Record):
    """A name and its target; times in ns since 1970, set by the store."""

    name: str
    target: Target
    labels: Mapping[str, str] = {}
    created_at: int = 0
    updated_at: int = 0


class Resolution(Record):
    """What a target is on one platform ("linux/amd64"); chain_id is the key of its unpacked layers."""

    platform: str
    manifest_digest: str
    config_digest: str
    chain_id: str


_COLUMNS = "name, media_type, digest, size, annotations, labels, created_at, updated_at"


def get(tx: Transaction, namespace: str, name: str) -> Image | None:
    """The image of that exact name, or None."""
    row = tx.first(f"SELECT {_COLUMNS} FROM images WHERE namespace = ? AND name = ?", (namespace, name))
    return None if row is None else _image(row)


def list(tx: Transaction, namespace: str) -> tuple[Image, ...]:  # noqa: A001 - reads as images.list
    """All images of a namespace, by name."""
    sql = f"SELECT {_COLUMNS} FROM images WHERE namespace = ? ORDER BY name"
    return tuple(map(_image, tx.execute(sql, (namespace,))))


def create(tx: WriteTransaction, namespace: str, image: Image) -> Image:
    """Add an image, as `put`, but raise AlreadyExists when the name is taken."""
    if get(tx, namespace, image.name) is not None:
        raise AlreadyExists(f"image {image.name!r}: already exists")
    return put(tx, namespace, image)


def put(tx: WriteTransaction, namespace: str, image: Image) -> Image:
    """Add an image, or point its name to another target; returns it with its times.

    Raises InvalidArgument for a name, digest, size or labels that cannot be.
    """
    validate_name(image.name, "image name")
    digests.validate(image.target.digest)
    if image.target.size < 0:
        raise InvalidArgument(f"image {image.name!r}: the size of its target must not be negative")
    namespaces.ensure(tx, namespace)
    now = clock.now()
    row = tx.first(
        "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (namespace, name) DO UPDATE SET digest = excluded.digest,"
        " media_type = excluded.media_type, size = excluded.size, annotations = excluded.annotations,"
        " labels = excluded.labels, updated_at = excluded.updated_at RETURNING created_at",
        (
            namespace,
            image.name,
            image.target.digest,
            image.target.media_type,
            image.target.size,
            label_column.encode(image.target.annotations, limited=False),
            label_column.encode(image.labels),
            now,
            now,
        ),
    )
    return image.replace(created_at=row[0] if row else now, updated_at=now)


def delete(tx: WriteTransaction, namespace: str, name: str) -> None:
    """Forget a name; its content goes at the next collection. Raises NotFound."""
    if not tx.change("DELETE FROM images WHERE namespace = ? AND name = ?", (namespace, name)):
        raise NotFound(f"image {name!r}: there is none")


def resolution(tx: Transaction, digest: str, platform: str) -> Resolution | None:
    """What the target with this digest was found to be on a platform, or None if nobody looked."""
    row = tx.first(
        "SELECT platform, manifest_digest, config_digest, chain_id FROM resolutions"
        " WHERE digest = ? AND platform = ?",
        (digest, platform),
    )
    return None if row is None else Resolution(*row)


def remember(tx: WriteTransaction, digest: str, found: Resolution) -> None:
    """Keep what a target was found to be."""
    tx.change("INSERT OR REPLACE INTO resolutions VALUES (?, ?, ?, ?, ?)", (digest, *found.values()))


def _image(row: Row) -> Image:
    name, media_type, digest, size, annotations, labels, created_at, updated_at = row
    target = Target(media_type, digest, size, label_column.decode(annotations))
    return Image(name, target, label_column.decode(labels), created_at, updated_at)
