"""A difference between two file systems as a blob of the content store."""

from __future__ import annotations

import os
from hashlib import sha256

from cloche.errors import Unimplemented
from cloche.image.diff import difference
from cloche.image.diff_layer import write_layer
from cloche.spec import image as documents
from cloche.spec.image import Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from cloche.spec.mount import Mount
    from cloche.store.content import ContentStore

    class Compressor(Protocol):
        """What takes bytes and gives fewer."""

        def compress(self, data: bytes, /) -> bytes: ...

        def flush(self) -> bytes: ...


_GZIP_WINDOW = 31  # a window of 32 KiB, and gzip's header


def store_difference(
    lower: Sequence[Mount],
    upper: Sequence[Mount],
    *,
    content: ContentStore,
    media_type: str = "",
    ref: str = "",
) -> tuple[Descriptor, str]:
    """Write what `upper` shows and `lower` does not as a layer; its descriptor and its diff id.

    media_type: OCI's or Docker's of a layer; empty for OCI's with gzip. ref: the ingest's name.
    Raises Unimplemented for another media type.
    """
    media_type = media_type or documents.OCI_LAYER_GZIP
    compressor = _compressor(media_type)
    plain = sha256()
    with content.writer(ref or f"diff {os.getpid()} {os.urandom(8).hex()}") as ingest:
        if ingest.offset:
            ingest.restart()

        def write(data: bytes) -> None:
            plain.update(data)
            if packed := compressor.compress(data):
                ingest.write(packed)

        try:
            with difference(upper, lower) as found:
                write_layer(found, write)
            ingest.write(compressor.flush())
            size = ingest.offset
            digest = ingest.commit()
        except BaseException:
            ingest.abort()
            raise
    return Descriptor(media_type, digest, size), f"sha256:{plain.hexdigest()}"


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def _compressor(media_type: str) -> Compressor:
    if media_type in (documents.OCI_LAYER, documents.DOCKER_LAYER):
        return _Plain()
    if media_type in (documents.OCI_LAYER_GZIP, documents.DOCKER_LAYER_GZIP):
        from isal import isal_zlib

        compressor: Compressor = isal_zlib.compressobj(level=2, wbits=_GZIP_WINDOW)
        return compressor
    if media_type == documents.OCI_LAYER_ZSTD:
        import zstandard

        return zstandard.ZstdCompressor().compressobj()
    raise Unimplemented(f"diff: media type {media_type!r}: cannot be written; a layer's of OCI or Docker can")
