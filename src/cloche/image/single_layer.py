"""Config and manifest of an image that is made here: of one plain layer."""

from __future__ import annotations

from cloche.image.resolve import Chosen
from cloche.spec import image as documents
from cloche.spec.document import dumps
from cloche.spec.image import Descriptor, ImageConfig, Manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.spec.platform import Platform
    from cloche.store.content import ContentStore


def store(
    layer: Descriptor,
    process: dict[str, Any],
    history: dict[str, str],
    system: Platform,
    content: ContentStore,
) -> Chosen:
    """Write both into the content store.

    layer: not compressed, so that its digest is its diff id. process: what containers run, as in an
    image's `config`. history: of the layer, with its `created`, which is the image's too.
    """
    document: dict[str, Any] = {
        "created": history["created"],
        "architecture": system.architecture,
        "os": system.os,
        "config": process,
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        "history": [history],
    }
    if system.variant:
        document["variant"] = system.variant
    config = _put(documents.OCI_CONFIG, document, content)
    described = {
        "schemaVersion": 2,
        "mediaType": documents.OCI_MANIFEST,
        "config": config.to_dict(),
        "layers": [layer.to_dict()],
    }
    descriptor = _put(documents.OCI_MANIFEST, described, content)
    return Chosen(descriptor, descriptor, Manifest(config, (layer,)), ImageConfig(document))


def _put(media_type: str, document: dict[str, Any], content: ContentStore) -> Descriptor:
    data = dumps(document)
    return Descriptor(media_type, content.put(data), len(data))
