"""Writing images as one tar: an OCI archive that `docker load` reads as well.

blobs/<algorithm>/<hex>   everything, once
index.json                one entry a name
manifest.json             the same in Docker's words, pointing at the same blobs
oci-layout
"""

from __future__ import annotations

import os

from cloche.errors import DataLoss, InvalidArgument, NotFound
from cloche.image import resolve
from cloche.image.archive import NAME_ANNOTATION, REF_NAME_ANNOTATION
from cloche.image.tarentry import DIRECTORY, Entry
from cloche.image.tarwriter import Writer, regular
from cloche.spec import digest as digests
from cloche.spec import image as documents
from cloche.spec import reference as references
from cloche.spec.document import dumps
from cloche.spec.image import Descriptor, Index
from cloche.store import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from cloche.image.resolve import Chosen
    from cloche.spec.platform import Platform
    from cloche.store.content import ContentStore
    from cloche.store.metadata import Metadata

_CHUNK_BYTES = 1 << 20


def save(
    names: Sequence[str],
    write: Callable[[bytes], object],
    *,
    content: ContentStore,
    metadata: Metadata,
    namespace: str,
    platform: Platform | None = None,
) -> None:
    """Write the named images to `write`, piece by piece.

    names: full ones, as the images table has them. platform: of images for several, which one; an
    index is written whole where all of it is here, otherwise its image for this platform alone.
    Raises NotFound before anything is written, DataLoss for content that is damaged.
    """
    if not names:
        raise InvalidArgument("no images: name at least one")
    wanted = resolve.completed(platform)
    selected = [_select(name, wanted, content, metadata, namespace) for name in dict.fromkeys(names)]
    blobs: dict[str, Descriptor] = {}
    for image in selected:
        for blob in image.blobs:
            blobs[blob.digest] = blob
    archive = Writer(write)
    _write_blobs(blobs, archive, content)
    index = {
        "schemaVersion": 2,
        "mediaType": documents.OCI_INDEX,
        "manifests": [image.entry() for image in selected],
    }
    archive.add(regular(b"index.json", 0), dumps(index))
    archive.add(regular(b"manifest.json", 0), dumps(_docker_manifest(selected)))
    archive.add(regular(b"oci-layout", 0), b'{"imageLayoutVersion":"1.0.0"}')
    archive.close()


class _Selected:
    """One name, and the blobs that it stands for."""

    def __init__(self, name: str, top: Descriptor, chosen: Chosen, blobs: list[Descriptor]) -> None:
        self.name = name
        self.top = top
        self.chosen = chosen
        self.blobs = blobs

    def entry(self) -> dict[str, Any]:
        """Its line in index.json, with the annotations that containerd, Docker and podman read."""
        reference = references.parse(self.name)
        annotations = {NAME_ANNOTATION: self.name, REF_NAME_ANNOTATION: reference.tag or reference.digest}
        return self.top.replace(annotations=annotations).to_dict()


def _select(
    name: str, platform: Platform, content: ContentStore, metadata: Metadata, namespace: str
) -> _Selected:
    with metadata.read() as tx:
        image = images.get(tx, namespace, name)
    if image is None:
        raise NotFound(f"image {name!r}: there is none")
    target = Descriptor(image.target.media_type, image.target.digest, image.target.size)
    chosen = resolve.choose(target, platform, resolve.from_content(content), name=name)
    whole = _whole(target, content)
    if whole is not None:
        return _Selected(name, target, chosen, whole)
    own = [chosen.descriptor, chosen.manifest.config, *chosen.manifest.layers]
    missing = [blob.digest for blob in own if not content.exists(blob.digest)]
    if missing:
        raise NotFound(f"image {name!r}: {missing[0]} is not here any more: pull the image again")
    top = chosen.descriptor.replace(platform=chosen.config.platform.normalised())
    return _Selected(name, top, chosen, own)


def _whole(target: Descriptor, content: ContentStore) -> list[Descriptor] | None:
    """All blobs below a descriptor, or None when one of them is not here."""
    found: list[Descriptor] = []
    todo = [(target, 0)]
    while todo:
        descriptor, depth = todo.pop()
        if depth > documents.INDEX_DEPTH_LIMIT or not content.exists(descriptor.digest):
            return None
        found.append(descriptor)
        if descriptor.media_type not in (*documents.INDEX_TYPES, *documents.MANIFEST_TYPES):
            continue
        document = documents.parse(content.read(descriptor.digest), descriptor.media_type)
        below = document.manifests if isinstance(document, Index) else (document.config, *document.layers)
        todo.extend((entry, depth + 1) for entry in below)
    return found


def _docker_manifest(selected: Sequence[_Selected]) -> list[dict[str, Any]]:
    """manifest.json: one element an image, with all its names."""
    elements: dict[str, dict[str, Any]] = {}
    for image in selected:
        manifest = image.chosen.manifest
        element = elements.setdefault(
            image.chosen.descriptor.digest,
            {
                "Config": _path(manifest.config.digest),
                "RepoTags": [],
                "Layers": [_path(layer.digest) for layer in manifest.layers],
            },
        )
        reference = references.parse(image.name)
        if reference.tag:
            element["RepoTags"].append(reference.replace(digest="").familiar())
    return list(elements.values())


def _path(digest: str) -> str:
    algorithm, digits = digests.parse(digest)
    return f"blobs/{algorithm}/{digits}"


def _write_blobs(blobs: dict[str, Descriptor], archive: Writer, content: ContentStore) -> None:
    algorithms = {digests.parse(digest)[0] for digest in blobs}
    for directory in ("blobs/", *(f"blobs/{algorithm}/" for algorithm in sorted(algorithms))):
        archive.add(Entry(directory.encode(), DIRECTORY, 0o755))
    for digest, blob in sorted(blobs.items()):
        _write_blob(digest, blob, archive, content)


def _write_blob(digest: str, blob: Descriptor, archive: Writer, content: ContentStore) -> None:
    hashing = digests.hasher(digests.parse(digest)[0])
    fd = content.open(digest)
    try:
        if os.fstat(fd).st_size != blob.size:
            raise DataLoss(f"content {digest}: has not the {blob.size} bytes that its descriptor says")
        archive.add(regular(_path(digest).encode(), blob.size))
        left = blob.size
        while left and (data := os.read(fd, min(left, _CHUNK_BYTES))):
            hashing.update(data)
            archive.write(data)
            left -= len(data)
    finally:
        os.close(fd)
    if left or hashing.hexdigest() != digests.parse(digest)[1]:
        raise DataLoss(f"content {digest}: damaged on disk: remove it and pull again")
