"""`docker save` archives: manifest.json and its files become OCI manifests in the content store."""

from __future__ import annotations

from cloche.errors import DataLoss, InvalidArgument
from cloche.spec import image as documents
from cloche.spec import reference as references
from cloche.spec.document import dumps, loads
from cloche.spec.fields import Fields
from cloche.spec.image import Descriptor, ImageConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloche.image.incoming import Blob, Incoming
    from cloche.store.content import ContentStore

_MEDIA_TYPES = {
    "plain": documents.OCI_LAYER,
    "gzip": documents.OCI_LAYER_GZIP,
    "zstd": documents.OCI_LAYER_ZSTD,
}
_IMAGES_LIMIT = 1000


def convert(incoming: Incoming, content: ContentStore, name: str) -> Iterator[tuple[str, Descriptor]]:
    """(Full name, descriptor of its new manifest) of every image; the name may be empty.

    Raises InvalidArgument for a manifest.json that is none, DataLoss for files that are missing.
    """
    place = f"{name}: manifest.json"
    listed = loads(incoming.documents["manifest.json"], place)
    if not isinstance(listed, list) or not 0 < len(listed) <= _IMAGES_LIMIT:
        raise InvalidArgument(f"{place}: must be a list of up to {_IMAGES_LIMIT} images")
    for number, value in enumerate(listed):
        fields = Fields.of(value, f"{place}[{number}]")
        descriptor = _manifest(fields, incoming, content)
        for tag in fields.strings("RepoTags") or ("",):
            yield (str(references.parse(tag)) if tag else ""), descriptor


def _manifest(fields: Fields, incoming: Incoming, content: ContentStore) -> Descriptor:
    """Write the manifest that says in OCI's words what one element of manifest.json says."""
    config_path = fields.string("Config", required=True)
    config_blob = _blob(incoming, config_path, f"{fields.name}.Config")
    config = ImageConfig.parse(
        content.read(config_blob.digest, limit_bytes=documents.DOCUMENT_LIMIT_BYTES), config_path
    )
    paths = fields.strings("Layers")
    if len(paths) != len(config.diff_ids):
        raise InvalidArgument(
            f"{fields.name}: {len(paths)} layers, but the config has {len(config.diff_ids)} diff ids"
        )
    layers = [_layer(_blob(incoming, path, f"{fields.name}.Layers"), path, content) for path in paths]
    config_descriptor = Descriptor(documents.OCI_CONFIG, config_blob.digest, config_blob.size)
    data = dumps(
        {
            "schemaVersion": 2,
            "mediaType": documents.OCI_MANIFEST,
            "config": config_descriptor.to_dict(),
            "layers": [layer.to_dict() for layer in layers],
        }
    )
    return Descriptor(documents.OCI_MANIFEST, incoming.put(data), len(data))


def _blob(incoming: Incoming, path: str, place: str) -> Blob:
    blob = incoming.blob(path)
    if blob is None:
        raise DataLoss(f"{place}: {path[:200]!r} is not in the archive")
    return blob


def _layer(blob: Blob, path: str, content: ContentStore) -> Descriptor:
    kind = blob.compression or _compression(blob, content)
    media_type = _MEDIA_TYPES.get(kind)
    if media_type is None:
        raise InvalidArgument(
            f"{path}: a layer compressed with {kind}: only gzip and zstd are used for layers"
        )
    return Descriptor(media_type, blob.digest, blob.size)


def _compression(blob: Blob, content: ContentStore) -> str:
    """What a blob that was here before is compressed with."""
    from cloche.image.compression import kind

    with open(content.open(blob.digest), "rb") as file:
        return kind(file.read(6))
