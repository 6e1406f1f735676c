"""Reading images that are not in a registry: OCI layouts, OCI archives and `docker save` archives.

    directory ── index.json ─────────────────────────────┐
    tar ── blobs/… , layers ──▶ content store (verified)  ├─▶ images: unpack, record
        └─ index.json, or manifest.json (Docker's) ──────┘

An archive is read once, from front to back, so that it can come through a pipe: whatever can be a
blob goes into the content store as it arrives, and what the index says is looked at afterwards.
What no image refers to in the end is collected like any other content.
"""

from __future__ import annotations

import os

from cloche.errors import ClocheError, DataLoss, InvalidArgument, NotFound
from cloche.image import compression, docker_archive, resolve
from cloche.image.extract import as_domain_error
from cloche.image.incoming import Incoming, read_directory, read_tar
from cloche.image.install import install
from cloche.image.processors import NONE
from cloche.spec import image as documents
from cloche.spec import reference as references
from cloche.spec.document import loads
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cloche.image.compression import Source
    from cloche.image.layer import LayerLimits
    from cloche.image.processors import Processors
    from cloche.image.resolve import Chosen
    from cloche.spec.image import Descriptor
    from cloche.spec.platform import Platform
    from cloche.store.content import ContentStore
    from cloche.store.images import Image
    from cloche.store.metadata import Metadata
    from cloche.store.snapshots.local import LocalSnapshotter

NAME_ANNOTATION = "io.containerd.image.name"
REF_NAME_ANNOTATION = "org.opencontainers.image.ref.name"
_IMAGES_LIMIT = 1000


class Named(Record):
    """One image that an archive offers. name: the full one, empty where the archive gives none."""

    name: str
    descriptor: Descriptor


def load(
    source: str | Source,
    *,
    content: ContentStore,
    metadata: Metadata,
    namespace: str,
    snapshotter: LocalSnapshotter | None = None,
    platform: Platform | None = None,
    base_name: str = "",
    limits: LayerLimits | None = None,
    processors: Processors = NONE,
    discard: Callable[[Iterable[str]], object] | None = None,
) -> tuple[Image, ...]:
    """Bring every image of a layout or an archive here; returns their rows.

    source: the path of a layout directory or an archive, or what to read an archive from; archives may
    be compressed. platform: which image of an index; this machine's by default.
    base_name: names images that only have a tag ("NAME:TAG") or nothing; from the path by default.
    snapshotter: where they are unpacked; None leaves them packed. processors: for layers of other types.
    discard: called when it fails with the digests of the blobs that came with it, to collect them at
    once; without it they go with the next collection.
    Raises InvalidArgument for what is no image archive, DataLoss where bytes are missing or are not
    what their digest says, NotFound for a path or a platform that is not there.
    """
    name = source if isinstance(source, str) else "archive"
    incoming = Incoming(content)
    try:
        return _load(
            source,
            name,
            incoming,
            metadata=metadata,
            namespace=namespace,
            snapshotter=snapshotter,
            platform=resolve.completed(platform),
            base_name=base_name,
            limits=limits,
            processors=processors,
        )
    except BaseException as error:
        if discard is not None:
            discard(incoming.new)
        if isinstance(error, OSError):
            raise as_domain_error(error, name) from None
        raise


def _load(
    source: str | Source,
    name: str,
    incoming: Incoming,
    *,
    metadata: Metadata,
    namespace: str,
    snapshotter: LocalSnapshotter | None,
    platform: Platform,
    base_name: str,
    limits: LayerLimits | None,
    processors: Processors,
) -> tuple[Image, ...]:
    _read(source, name, incoming)
    found = _offered(incoming, name)
    base_name = base_name or (_stem(source) if isinstance(source, str) else "")
    rows = []
    for number, offer in enumerate(found):
        rows.append(
            _record(
                _full_name(offer, base_name if number == 0 or offer.name else ""),
                offer.descriptor,
                content=incoming.content,
                metadata=metadata,
                namespace=namespace,
                snapshotter=snapshotter,
                platform=platform,
                limits=limits,
                processors=processors,
            )
        )
    return tuple({image.name: image for image in rows}.values())


def _read(source: str | Source, name: str, incoming: Incoming) -> None:
    if not isinstance(source, str):
        read_tar(compression.opened(source, name=name), incoming, name)
    elif os.path.isdir(source):
        read_directory(source, incoming)
    else:
        try:
            file = open(source, "rb", buffering=0)
        except FileNotFoundError:
            raise NotFound(f"{name}: there is no such file or directory") from None
        with file:
            read_tar(compression.opened(file, name=name), incoming, name)


def _offered(incoming: Incoming, name: str) -> list[Named]:
    """The images that were brought: OCI's index where there is one, as containerd and Docker do."""
    if "index.json" in incoming.documents:
        return _from_index(incoming, name)
    if "manifest.json" in incoming.documents:
        converted = docker_archive.convert(incoming, incoming.content, name)
        return [Named(full_name, descriptor) for full_name, descriptor in converted]
    raise InvalidArgument(f"{name}: is no image archive: it has neither index.json nor manifest.json")


def _from_index(incoming: Incoming, name: str) -> list[Named]:
    found = incoming.documents
    layout = loads(found.get("oci-layout", b"{}"), f"{name}: oci-layout")
    version = layout.get("imageLayoutVersion") if isinstance(layout, dict) else None
    if not isinstance(version, str) or not version.startswith("1."):
        raise InvalidArgument(f"{name}: oci-layout: must say imageLayoutVersion 1.0.0")
    index = documents.parse(found["index.json"], documents.OCI_INDEX, name=f"{name}: index.json")
    if not isinstance(index, documents.Index):
        raise InvalidArgument(f"{name}: index.json: must be an index")
    if len(index.manifests) > _IMAGES_LIMIT:
        raise InvalidArgument(f"{name}: index.json: lists more than {_IMAGES_LIMIT} images")
    known = (*documents.INDEX_TYPES, *documents.MANIFEST_TYPES)
    offers = [
        Named(entry.annotations.get(NAME_ANNOTATION) or entry.annotations.get(REF_NAME_ANNOTATION, ""), entry)
        for entry in index.manifests
        if entry.media_type in known and not (entry.platform and entry.platform.os == "unknown")
    ]
    if not offers:
        raise InvalidArgument(f"{name}: index.json: lists no image")
    if len(offers) > 1 and not any(offer.name for offer in offers):
        # One image for several platforms, whose index is the layout's own.
        data = found["index.json"]
        return [Named("", documents.Descriptor(documents.OCI_INDEX, incoming.put(data), len(data)))]
    return offers


def _full_name(offer: Named, base_name: str) -> str:
    """The name an image is kept under: what the archive says, where that is a whole name.

    A bare word is a tag (as umoci and the image spec use the annotation), unless there is no name
    that it could be a tag of.
    """
    given = offer.name
    try:
        tagged = ":" in base_name.rpartition("/")[2]
        if not given or (tagged and "/" not in given and ":" not in given):
            return str(references.parse(base_name or f"import@{offer.descriptor.digest}"))
        if base_name and "/" not in given and ":" not in given:
            return str(references.parse(f"{base_name}:{given}"))
        return str(references.parse(given))
    except InvalidArgument as error:
        raise InvalidArgument(f"the archive's name for an image: {error}") from None


def _stem(path: str) -> str:
    """A name from an archive's file name: its letters, digits, dots and dashes, without extensions."""
    base = os.path.basename(os.path.abspath(path)).lower()
    for extension in (".gz", ".zst", ".xz", ".bz2", ".tgz", ".tar", ".oci"):
        base = base.removesuffix(extension)
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in base)
    return "-".join(part for part in kept.split("-") if part) or "import"


def _record(
    name: str,
    target: Descriptor,
    *,
    content: ContentStore,
    metadata: Metadata,
    namespace: str,
    snapshotter: LocalSnapshotter | None,
    platform: Platform,
    limits: LayerLimits | None,
    processors: Processors,
) -> Image:
    """Choose the image for the platform, check that all of it is here, unpack it and give it its name."""
    chosen = _choose(target, platform, content, name)
    _check_blobs(chosen, content, name)
    return install(
        name,
        chosen,
        content=content,
        metadata=metadata,
        namespace=namespace,
        platform=str(platform),
        snapshotter=snapshotter,
        limits=limits,
        processors=processors,
    )


def _choose(target: Descriptor, platform: Platform, content: ContentStore, name: str) -> Chosen:
    try:
        return resolve.choose(target, platform, resolve.from_content(content), name=name)
    except NotFound as error:
        if str(error).startswith("content "):
            raise DataLoss(f"{name}: the archive is not whole: {error}") from None
        raise


def _check_blobs(chosen: Chosen, content: ContentStore, name: str) -> None:
    """Every blob must be here, of the size its descriptor says; their digests were checked on arrival."""
    blobs: Sequence[Descriptor] = (chosen.manifest.config, *chosen.manifest.layers)
    for blob in blobs:
        try:
            size = content.size(blob.digest)
        except ClocheError:
            raise DataLoss(f"{name}: the archive is not whole: {blob.digest} is missing") from None
        if size != blob.size:
            raise DataLoss(f"{name}: {blob.digest} has {size} bytes, its descriptor says {blob.size}")
