"""An image out of a root file system in a tar archive: one layer, and a config that the caller words.

tar ── Archive ── first entries ──┬─ an image archive's: cloche.image.archive loads it
                                   └─ anything else: build() stores it, plain, as the layer
"""

from __future__ import annotations

import os

from cloche.errors import InvalidArgument, NotFound, ResourceExhausted
from cloche.image import compression, instructions, single_layer
from cloche.image.extract import as_domain_error
from cloche.image.install import install
from cloche.image.layer import LayerLimits
from cloche.image.tarstream import Reader
from cloche.shim import timestamps
from cloche.spec import image as documents
from cloche.spec import platform as platforms
from cloche.spec import reference as references
from cloche.spec.image import Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, BinaryIO

    from cloche.image.compression import Source
    from cloche.spec.platform import Platform
    from cloche.store.content import ContentStore
    from cloche.store.images import Image
    from cloche.store.metadata import Metadata
    from cloche.store.snapshots.local import LocalSnapshotter

_CHUNK_BYTES = 1 << 20
_DOCUMENTS = (b"oci-layout", b"index.json", b"manifest.json", b"repositories")
_ALGORITHMS = (b"sha256", b"sha512")
_HEX_LENGTH = 64


class Archive:
    """A tar archive, decompressed, that can be looked at from its beginning before it is read whole.

    Context manager: closes the file it has opened.
    """

    def __init__(self, source: str | Source, name: str) -> None:
        """source: a path, or what to read from. Raises NotFound, InvalidArgument, Unimplemented."""
        self.name = name
        self._file: BinaryIO | None = None
        if isinstance(source, str):
            try:
                source = self._file = open(source, "rb")
            except FileNotFoundError:
                raise NotFound(f"{name}: there is no such file or directory") from None
            except OSError as error:
                raise as_domain_error(error, name) from None
        self._compressed = compression.Counted(source)
        self._plain = compression.opened(self._compressed, name=name)
        self._seen = bytearray()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def compressed_bytes(self) -> int:
        """How much was read of what it came as."""
        return self._compressed.count

    def look(self, size: int, /) -> bytes:
        """More bytes, which `read` gives again."""
        data = self._plain.read(size)
        self._seen += data
        return data

    def read(self, size: int = _CHUNK_BYTES, /) -> bytes:
        """At most `size` bytes; none only at the end."""
        if not self._seen:
            return self._plain.read(size)
        data = bytes(self._seen[:size])
        del self._seen[:size]
        return data


def holds_images(archive: Archive) -> bool:
    """Whether this plain tar is an OCI or docker archive, told by its first entry that is no directory.

    Reads no more than it must. Raises InvalidArgument and DataLoss for what is no tar archive.
    """
    for entry in Reader(archive.look, archive=archive.name):
        parts = os.path.normpath(b"/" + entry.name).strip(b"/").split(b"/")
        if parts[0] == b"blobs" and (len(parts) == 1 or parts[1] in _ALGORITHMS):
            if len(parts) > 2:
                return True
        elif parts[0] in _DOCUMENTS or _is_digest(parts[0]):
            return True
        elif parts[0]:
            return False
    return False


def _is_digest(name: bytes) -> bool:
    """Docker's layers and configs are named by their digests."""
    digits = name.removeprefix(b"sha256:").partition(b".")[0]
    return len(digits) == _HEX_LENGTH and not digits.strip(b"0123456789abcdef")


def build(
    archive: Archive,
    *,
    name: str,
    content: ContentStore,
    metadata: Metadata,
    namespace: str,
    snapshotter: LocalSnapshotter,
    changes: Sequence[str] = (),
    message: str = "",
    platform: Platform | None = None,
    limits: LayerLimits | None = None,
    discard: Callable[[Iterable[str]], object] | None = None,
) -> Image:
    """Make an image of a plain tar archive and give it a name; returns its row.

    name: as `docker tag` takes it, empty for none. changes: see instructions.change. message: for
    the history. platform: what the files are for; this machine by default. discard: see archive.load.
    Raises InvalidArgument for a wrong name or change and for what no layer may hold, DataLoss.
    """
    full_name = str(references.parse(name)) if name else ""
    process: dict[str, Any] = {}
    for text in changes:
        instructions.change(process, text)
    system = platform or platforms.of_machine(os.uname().machine)
    new: list[str] = []
    try:
        layer = _store_layer(archive, content, limits or LayerLimits())
        new.append(layer.digest)
        history = {"created": timestamps.now(), "comment": message or f"Imported from {archive.name}"}
        chosen = single_layer.store(layer, process, history, system, content)
        new += (chosen.manifest.config.digest, chosen.descriptor.digest)
        return install(
            full_name or str(references.parse(f"import@{chosen.descriptor.digest}")),
            chosen,
            content=content,
            metadata=metadata,
            namespace=namespace,
            platform=str(system),
            snapshotter=snapshotter,
            limits=limits,
        )
    except BaseException as error:
        if discard is not None:
            discard(new)
        if isinstance(error, OSError):
            raise as_domain_error(error, archive.name) from None
        raise


def _store_layer(archive: Archive, content: ContentStore, limits: LayerLimits) -> Descriptor:
    """Write the layer into the content store; its digest is its diff id, as it is not compressed."""
    ref = f"import {os.getpid()} {os.urandom(8).hex()}"
    with content.writer(ref) as ingest:
        try:
            while data := archive.read(_CHUNK_BYTES):
                ingest.write(data)
                if ingest.offset > limits.allowed(archive.compressed_bytes):
                    raise ResourceExhausted(
                        f"{archive.name}: {archive.compressed_bytes} bytes became {ingest.offset}: "
                        "more than may come out of an archive"
                    )
            if not ingest.offset:
                raise InvalidArgument(f"{archive.name}: is empty, and so no archive")
            size = ingest.offset
            digest = ingest.commit()
        except BaseException:
            ingest.abort()
            raise
    return Descriptor(documents.OCI_LAYER, digest, size)
