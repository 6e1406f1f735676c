"""`ctr images convert`: the same image in another form, under another name."""

from __future__ import annotations

from cloche.cli.ctr import scratch
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.flags import ALL_PLATFORMS, PLATFORM
from cloche.cli.ctr.image_content import get, platform_of
from cloche.cli.ctr.leases import Leased
from cloche.cli.ctr.scratch import Scratch
from cloche.cli.output import line
from cloche.errors import NotFound, Unimplemented
from cloche.image import compression
from cloche.spec import digest as digests
from cloche.spec import image as documents
from cloche.spec.document import dumps, loads
from cloche.spec.image import Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cloche.spec.platform import Platform
    from cloche.store.content import ContentStore

_OF_OCI = {
    documents.DOCKER_LIST: documents.OCI_INDEX,
    documents.DOCKER_MANIFEST: documents.OCI_MANIFEST,
    documents.DOCKER_CONFIG: documents.OCI_CONFIG,
    documents.DOCKER_LAYER: documents.OCI_LAYER,
    documents.DOCKER_LAYER_GZIP: documents.OCI_LAYER_GZIP,
}
_PLAIN = {
    documents.DOCKER_LAYER_GZIP: documents.DOCKER_LAYER,
    documents.OCI_LAYER_GZIP: documents.OCI_LAYER,
    documents.OCI_LAYER_ZSTD: documents.OCI_LAYER,
}


class _Conversion:
    """Rewrites documents and layers in a store. platforms: those that are kept; none for all."""

    def __init__(
        self, content: ContentStore, platforms: Sequence[Platform], *, oci: bool, uncompress: bool
    ) -> None:
        self._content = content
        self._platforms = platforms
        self._oci = oci
        self._uncompress = uncompress

    def of(self, target: Descriptor) -> Descriptor:
        """The converted form of an index or a manifest. Raises NotFound where no platform is left."""
        document = loads(self._content.read(target.digest), target.digest)
        if target.media_type in documents.INDEX_TYPES:
            document["manifests"] = self._manifests(document["manifests"])
            if not document["manifests"]:
                raise NotFound(f"{target.digest}: has no image for the platforms asked for")
        else:
            document["config"]["mediaType"] = self._media_type(document["config"]["mediaType"])
            document["layers"] = [self._layer(each) for each in document["layers"]]
        if "mediaType" in document or self._oci:
            document["mediaType"] = self._media_type(target.media_type)
        return self._put(self._media_type(target.media_type), document)

    def _manifests(self, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = []
        for entry in entries:
            old = documents.parse_descriptor(entry)
            fits = not self._platforms or (
                old.platform is not None
                and any(each.rank(old.platform) is not None for each in self._platforms)
            )
            if fits and self._content.exists(old.digest):
                new = self.of(old)
                kept.append(entry | {"mediaType": new.media_type, "digest": new.digest, "size": new.size})
        return kept

    def _layer(self, entry: dict[str, Any]) -> dict[str, Any]:
        kind = entry["mediaType"]
        if self._uncompress and kind in _PLAIN:
            digest, size = self._unpacked(entry["digest"])
            entry = entry | {"digest": digest, "size": size}
            kind = _PLAIN[kind]
        return entry | {"mediaType": self._media_type(kind)}

    def _unpacked(self, digest: str) -> tuple[str, int]:
        ref = f"convert-{digest}"
        with open(self._content.path(digest), "rb") as file, self._content.writer(ref) as writer:
            plain = compression.opened(file, name=digest)
            size = 0
            while data := plain.read():
                writer.write(data)
                size += len(data)
            return writer.commit(), size

    def _media_type(self, kind: str) -> str:
        return _OF_OCI.get(kind, kind) if self._oci else kind

    def _put(self, kind: str, document: dict[str, Any]) -> Descriptor:
        data = dumps(document)
        self._content.put(data)
        return Descriptor(kind, digests.of(data), len(data))


def _convert(invocation: Invocation) -> None:
    source, name = invocation.arguments
    if invocation.given("erofs"):
        raise Unimplemented("--erofs: there is no erofs snapshotter here to use such layers")
    named = [platform_of(text) for text in invocation.all("platform")] or [platform_of("")]
    with Scratch() as store, Leased(invocation.daemon):
        row = store.download(invocation.daemon, get(invocation.daemon, source))
        conversion = _Conversion(
            store.content,
            () if invocation.on("all-platforms") else named,
            oci=invocation.on("oci"),
            uncompress=invocation.on("uncompress"),
        )
        made = conversion.of(Descriptor(row.target.media_type, row.target.digest, row.target.size))
        store.upload(invocation.daemon, made)
        scratch.name(invocation.daemon, name, made, {})
    line(made.digest)


_FLAGS = (
    ALL_PLATFORMS,
    PLATFORM,
    ("erofs", "", "string", ""),
    ("erofs-compressors", "", "string", ""),
    ("erofs-mkfs-options", "", "string", ""),
    ("oci", "", "bool", "In the OCI's words instead of Docker's"),
    ("uncompress", "", "bool", "With layers that are not compressed"),
)

CONVERT = CtrCommand(
    "[OPTIONS] IMAGE NEW-NAME", _convert, groups=(("Options", _FLAGS),), minimum=2, maximum=2
)
