"""A difference between two file systems as a layer, compressed as its media type says."""

from __future__ import annotations

from hashlib import sha256

from cloche.errors import Unimplemented
from cloche.image.diff import difference
from cloche.image.diff_layer import write_layer
from cloche.spec import image as documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from cloche.spec.mount import Mount

    class Compressor(Protocol):
        """What takes bytes and gives fewer."""

        def compress(self, data: bytes, /) -> bytes: ...

        def flush(self) -> bytes: ...


_GZIP_WINDOW = 31  # a window of 32 KiB, and gzip's header


def written_difference(
    lower: Sequence[Mount], upper: Sequence[Mount], media_type: str, write: Callable[[bytes], object]
) -> str:
    """Write what `upper` shows and `lower` does not as a layer; returns its diff id.

    media_type: OCI's or Docker's of a layer. Raises Unimplemented for another one.
    """
    compressor = _compressor(media_type)
    plain = sha256()

    def pack(data: bytes) -> None:
        plain.update(data)
        if packed := compressor.compress(data):
            write(packed)

    with difference(upper, lower) as found:
        write_layer(found, pack)
    write(compressor.flush())
    return f"sha256:{plain.hexdigest()}"


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
