"""Images that are among the blobs although no name leads to them, and what they may be called."""

from __future__ import annotations

from cloche.errors import ClocheError
from cloche.spec import document
from cloche.spec import image as documents_of_images
from cloche.spec import reference as references
from cloche.store.images import Image, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from cloche.store.content import ContentStore
    from cloche.store.references import Documents

_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


def nameless(content: ContentStore, documents: Documents, named: set[str]) -> Iterator[Image]:
    """Manifests and indexes that neither a name nor another document leads to.

    named: the targets of the images that are known. An image gets the name that an annotation
    gives it, else recovered@DIGEST.
    """
    parents = {blob.digest: documents.children(blob.digest) for blob in content.walk()}
    reached: set[str] = set()
    waiting = list(named)
    while waiting:
        each = waiting.pop()
        if each not in reached:
            reached.add(each)
            waiting += parents.get(each, ())
    below = {child for children in parents.values() for child in children}
    for digest in sorted(each for each, children in parents.items() if children):
        if digest in reached or digest in below:
            continue
        yield from _images(content, digest)


def _images(content: ContentStore, digest: str) -> Iterator[Image]:
    try:
        data = content.read(digest)
        found = documents_of_images.parse(data, name=digest)
        parsed = document.loads(data, digest)
    except ClocheError:
        return
    offered = list(_offered(parsed)) if isinstance(found, documents_of_images.Index) else []
    if offered:  # an archive's index, whose entries are images of their own
        for name, target in offered:
            if content.exists(target.digest):
                yield Image(name, target)
        return
    name = _full_name(found.annotations) or str(references.parse(f"recovered@{digest}"))
    yield Image(name, Target(found.media_type, digest, len(data)))


def _offered(parsed: Any) -> Iterator[tuple[str, Target]]:
    for entry in parsed["manifests"]:
        name = _full_name(entry.get("annotations") or {})
        if name:
            yield name, Target(str(entry["mediaType"]), str(entry["digest"]), int(entry["size"]))


def _full_name(annotations: Any) -> str:
    """A reference that an annotation gives; a tag alone is none."""
    for key in _NAMES:
        text = annotations.get(key)
        if isinstance(text, str) and ("/" in text or key == _NAMES[0]):
            try:
                return str(references.parse(text))
            except ClocheError:
                continue
    return ""
