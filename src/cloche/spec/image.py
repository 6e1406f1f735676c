"""Image documents: descriptors, manifests and indexes, in OCI's and Docker's (schema 2) words.

Everything here comes from a registry or an archive, so nothing is trusted: documents are bounded,
every field that is used has the type it must have, and every digest is well formed before it can
become a path. Parsing is pure; who reads a document checks its digest.
"""

from __future__ import annotations

from cloche.errors import InvalidArgument, NotFound, Unimplemented
from cloche.spec import digest as digests
from cloche.spec.document import loads
from cloche.spec.fields import Fields
from cloche.spec.image_config import ImageConfig as ImageConfig
from cloche.spec.platform import Platform as Platform
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"
DOCKER_LAYER_FOREIGN_GZIP = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)
MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
CONFIG_TYPES = (OCI_CONFIG, DOCKER_CONFIG)
SCHEMA1_TYPES = (DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED)
_LAYER_PREFIXES = (
    OCI_LAYER,
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.",
)

DOCUMENT_LIMIT_BYTES = 4 << 20
"""The distribution spec asks registries to take manifests up to this size; more is an attack."""
INDEX_DEPTH_LIMIT = 8
LAYERS_LIMIT = 500
"""overlayfs stacks no more lower directories (OVL_MAX_STACK); Docker stops at 127."""
_SIZE_LIMIT = 1 << 62


class Descriptor(Record):
    """What points to a blob: its type, digest and size in bytes.

    urls: other places that have it (foreign layers). data: the blob itself where it was embedded.
    """

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = {}
    platform: Platform | None = None
    urls: tuple[str, ...] = ()
    data: bytes | None = None
    artifact_type: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, as an index or a manifest holds it."""
        document: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        if self.platform is not None:
            named = (
                ("architecture", self.platform.architecture),
                ("os", self.platform.os),
                ("variant", self.platform.variant),
                ("os.version", self.platform.os_version),
                ("os.features", list(self.platform.os_features)),
            )
            document["platform"] = {name: value for name, value in named if value}
        if self.urls:
            document["urls"] = list(self.urls)
        return document


class Manifest(Record):
    """One image for one platform: its config and its layers, the lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = {}
    media_type: str = OCI_MANIFEST
    artifact_type: str = ""
    subject: Descriptor | None = None


class Index(Record):
    """A list of manifests (or further indexes), commonly one a platform."""

    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = {}
    media_type: str = OCI_INDEX
    artifact_type: str = ""
    subject: Descriptor | None = None


def parse(data: bytes, media_type: str = "", *, name: str = "manifest") -> Manifest | Index:
    """Read a manifest or an index.

    media_type: what the registry or the pointing descriptor called it; empty where nothing did. A
    document that says otherwise about itself, or looks like both, is refused: two readers must not
    understand one digest differently (CVE-2021-41190).
    name: what is read, for messages. Raises InvalidArgument; Unimplemented for schema 1.
    """
    if len(data) > DOCUMENT_LIMIT_BYTES:
        raise InvalidArgument(f"{name}: has {len(data)} bytes, more than the {DOCUMENT_LIMIT_BYTES} allowed")
    document = Fields.of(loads(data, name), name)
    media_type = _settle_media_type(document, media_type.partition(";")[0].strip().lower(), name)
    if media_type in INDEX_TYPES:
        return _parse_index(document, media_type)
    return _parse_manifest(document, media_type)


def parse_manifest(data: bytes, media_type: str = "", *, name: str = "manifest") -> Manifest:
    """As `parse`, for where only a manifest may stand."""
    manifest = parse(data, media_type, name=name)
    if isinstance(manifest, Index):
        raise InvalidArgument(f"{name}: is an index, where one image's manifest was expected")
    return manifest


def parse_descriptor(value: object, name: str = "descriptor") -> Descriptor:
    """Read one descriptor of a parsed document. Raises InvalidArgument naming the field."""
    fields = Fields.of(value, name)
    try:
        digest = digests.validate(fields.string("digest", required=True))
    except InvalidArgument as error:
        raise InvalidArgument(f"{name}.digest: {error}") from None
    size = fields.integer("size", required=True)
    if not 0 <= size <= _SIZE_LIMIT:
        raise InvalidArgument(f"{name}.size: {size} cannot be a size")
    return Descriptor(
        fields.string("mediaType", required=True),
        digest,
        size,
        annotations=fields.string_map("annotations"),
        platform=_parse_platform(fields.nested("platform")),
        urls=fields.strings("urls"),
        data=_embedded(fields.string("data"), digest, size, name),
        artifact_type=fields.string("artifactType"),
    )


def choose(index: Index, platform: Platform) -> Descriptor:
    """The entry of an index that suits the platform best; of equals, the first.

    An entry without a platform is taken only where none fits better and only one such image is
    there (indexes made by tools for one image). Attestations (platform unknown) never are. Raises
    NotFound listing what there is.
    """
    best: tuple[int, Descriptor] | None = None
    images = [entry for entry in index.manifests if entry.media_type in (*MANIFEST_TYPES, *INDEX_TYPES)]
    for entry in images:
        rank = platform.rank(entry.platform) if entry.platform is not None else None
        if rank is not None and (best is None or rank < best[0]):
            best = (rank, entry)
    if best is not None:
        return best[1]
    unplaced = [entry for entry in images if entry.platform is None]
    if len(unplaced) == 1:
        return unplaced[0]
    named = {str(entry.platform) for entry in images if entry.platform and entry.platform.os != "unknown"}
    offered = ", ".join(sorted(named)) or "none that names its platform"
    raise NotFound(f"no image for {platform}; there is {offered}")


def chain_id(diff_ids: Iterable[str]) -> str:
    """The identity of a stack of layers, the lowest first: the name of its committed snapshot.

    Empty for no layers. Raises InvalidArgument for what is not a digest.
    """
    return (chain_ids(diff_ids) or ("",))[-1]


def chain_ids(diff_ids: Iterable[str]) -> tuple[str, ...]:
    """The identities of each layer with all below it, the lowest first. Raises as `chain_id`."""
    chain: list[str] = []
    for diff_id in diff_ids:
        diff_id = digests.validate(diff_id)
        chain.append(digests.of(f"{chain[-1]} {diff_id}".encode("ascii")) if chain else diff_id)
    return tuple(chain)


def is_layer(media_type: str) -> bool:
    """Whether blobs of this type are file system layers (and not an artifact's own matter)."""
    return media_type.startswith(_LAYER_PREFIXES)


def _settle_media_type(document: Fields, outer: str, name: str) -> str:
    inner = document.string("mediaType")
    if document.integer("schemaVersion") == 1 or outer in SCHEMA1_TYPES or inner in SCHEMA1_TYPES:
        raise Unimplemented(
            f"{name}: is in Docker's old schema 1, not read any more; push the image again with a newer tool"
        )
    if document.integer("schemaVersion") != 2:
        raise InvalidArgument(f"{name}: schemaVersion: must be 2")
    known = (*MANIFEST_TYPES, *INDEX_TYPES)
    if inner in known and outer in known and inner != outer:
        raise InvalidArgument(f"{name}: calls itself {inner}, but was announced as {outer}")
    listed, single = "manifests" in document, "layers" in document or "config" in document
    if listed and single:
        raise InvalidArgument(f"{name}: has the fields of an index and of a manifest; only one can be meant")
    media_type = inner or outer
    if media_type not in known:
        if inner or not (listed or single):
            raise InvalidArgument(f"{name}: {media_type or 'a document without media type'} is not an image")
        media_type = OCI_INDEX if listed else OCI_MANIFEST
    if (media_type in INDEX_TYPES) == single:
        raise InvalidArgument(f"{name}: does not have the fields of {media_type}")
    return media_type


def _parse_manifest(document: Fields, media_type: str) -> Manifest:
    layers = document.array("layers")
    if len(layers) > LAYERS_LIMIT:
        raise InvalidArgument(
            f"{document.name}.layers: {len(layers)} layers, more than the {LAYERS_LIMIT} allowed"
        )
    return Manifest(
        config=parse_descriptor(document.nested("config"), f"{document.name}.config"),
        layers=tuple(
            parse_descriptor(layer, f"{document.name}.layers[{number}]")
            for number, layer in enumerate(layers)
        ),
        annotations=document.string_map("annotations"),
        media_type=media_type,
        artifact_type=document.string("artifactType"),
        subject=_subject(document),
    )


def _parse_index(document: Fields, media_type: str) -> Index:
    return Index(
        manifests=tuple(
            parse_descriptor(entry, f"{document.name}.manifests[{number}]")
            for number, entry in enumerate(document.array("manifests"))
        ),
        annotations=document.string_map("annotations"),
        media_type=media_type,
        artifact_type=document.string("artifactType"),
        subject=_subject(document),
    )


def _subject(document: Fields) -> Descriptor | None:
    value = document.nested("subject")
    return None if value is None else parse_descriptor(value, f"{document.name}.subject")


def _parse_platform(value: object) -> Platform | None:
    if value is None:
        return None
    fields = Fields.of(value, "platform")
    return Platform(
        fields.string("os"),
        fields.string("architecture"),
        fields.string("variant"),
        fields.string("os.version"),
        fields.strings("os.features"),
    )


def _embedded(text: str, digest: str, size: int, name: str) -> bytes | None:
    """The descriptor's `data`, which must be what its digest and size say."""
    if not text:
        return None
    import binascii

    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise InvalidArgument(f"{name}.data: must be base64") from None
    if len(data) != size or (digest.startswith("sha256:") and digests.of(data) != digest):
        raise InvalidArgument(f"{name}.data: is not what its digest and size say")
    return data
