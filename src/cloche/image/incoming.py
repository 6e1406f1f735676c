"""Taking in the files of an image archive: blobs into the content store, documents into memory."""

from __future__ import annotations

import os

from cloche.errors import ClocheError, InvalidArgument
from cloche.image.compression import kind as compression_kind
from cloche.image.tarentry import FILE, HARDLINK, SYMLINK, Limits, shown
from cloche.image.tarstream import Reader
from cloche.spec import digest as digests
from cloche.spec.image import DOCUMENT_LIMIT_BYTES
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloche.image.compression import Source
    from cloche.image.tarentry import Entry
    from cloche.store.content import ContentStore

_ARCHIVE_ENTRIES = 20_000
_CHUNK_BYTES = 1 << 20
_DOCUMENTS = ("index.json", "manifest.json", "oci-layout", "repositories")
_LAYER_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.zst")
_DOCKER_DEPTH = 2


class Blob(Record):
    """A blob of an archive, now in the content store. compression: told by its first bytes."""

    digest: str
    size: int
    compression: str


class Incoming:
    """What an archive brought, by path: documents as bytes, layers and configs as blobs, links.

    new: digests of the blobs that the content store did not have before.
    """

    def __init__(self, content: ContentStore) -> None:
        self.content = content
        self.documents: dict[str, bytes] = {}
        self.blobs: dict[str, Blob] = {}
        self.links: dict[str, str] = {}
        self.new: list[str] = []

    def put(self, data: bytes) -> str:
        """Store a document that was made of the others; returns its digest."""
        digest = digests.of(data)
        if not self.content.exists(digest):
            self.new.append(digest)
        return self.content.put(data)

    def blob(self, path: str) -> Blob | None:
        """The blob at a path, links followed (docker save writes them for layers used twice)."""
        for _ in range(8):
            path = _normal(path)
            if path in self.blobs:
                return self.blobs[path]
            target = self.links.get(path)
            if target is None:
                return None
            path = target
        return None


def read_tar(source: Source, incoming: Incoming, name: str) -> None:
    """Read a tar archive to its end. Raises InvalidArgument and DataLoss that name archive and entry."""
    reader = Reader(source.read, archive=name, limits=Limits(entries=_ARCHIVE_ENTRIES))
    for entry in reader:
        _take(entry, reader, incoming, name)


def _take(entry: Entry, reader: Reader, incoming: Incoming, name: str) -> None:
    path = _normal(os.fsdecode(entry.name))
    if entry.kind == SYMLINK:
        incoming.links[path] = os.path.join(os.path.dirname(path), os.fsdecode(entry.link))
    elif entry.kind == HARDLINK:
        incoming.links[path] = os.fsdecode(entry.link)
    elif entry.kind != FILE or entry.sparse is not None:
        return
    elif path in _DOCUMENTS:
        incoming.documents[path] = reader.contents(DOCUMENT_LIMIT_BYTES)
    elif (digest := _blob_digest(path)) is not None or _may_be_dockers(path):
        place = f"{name}: {shown(entry.name)}"
        incoming.blobs[path] = _ingest(_pieces(reader), entry.size, digest, incoming, place)


def read_directory(path: str, incoming: Incoming) -> None:
    """Read an OCI image layout directory; links in it are not followed."""
    for document in _DOCUMENTS:
        data = _small_file(f"{path}/{document}")
        if data is not None:
            incoming.documents[document] = data
    for algorithm in digests.HEX_LENGTHS:
        directory = f"{path}/blobs/{algorithm}"
        for digits in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
            digest = _blob_digest(f"blobs/{algorithm}/{digits}")
            if digest is not None:
                incoming.blobs[f"blobs/{algorithm}/{digits}"] = _ingest_file(
                    f"{directory}/{digits}", digest, incoming
                )


def _small_file(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(fd, "rb") as file:
        data = file.read(DOCUMENT_LIMIT_BYTES + 1)
    if len(data) > DOCUMENT_LIMIT_BYTES:
        raise InvalidArgument(f"{path}: larger than {DOCUMENT_LIMIT_BYTES} bytes")
    return data


def _ingest_file(path: str, digest: str, incoming: Incoming) -> Blob:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        return _ingest(iter(lambda: os.read(fd, _CHUNK_BYTES), b""), size, digest, incoming, path)
    finally:
        os.close(fd)


def _pieces(reader: Reader) -> Iterable[memoryview]:
    while piece := reader.take():
        yield piece


def _ingest(
    pieces: Iterable[bytes | memoryview], size: int, digest: str | None, incoming: Incoming, place: str
) -> Blob:
    """Write one blob into the store; with a digest given its bytes must have it (DataLoss)."""
    content = incoming.content
    if digest is not None and content.exists(digest) and content.size(digest) == size:
        return Blob(digest, size, "")
    head = b""
    ref = f"import {digest or 'blob'} {os.getpid()} {os.urandom(8).hex()}"
    with content.writer(ref, digest=digest, size=size) as writer:
        try:
            for piece in pieces:
                head = head or bytes(piece[:6])
                writer.write(piece)
            found = writer.commit()
        except ClocheError as error:
            writer.abort()
            raise type(error)(f"{place}: {error}") from None
        except BaseException:
            writer.abort()
            raise
    incoming.new.append(found)
    return Blob(found, size, compression_kind(head))


def _blob_digest(path: str) -> str | None:
    """The digest that a path in a layout promises, or None where it is not the path of a blob."""
    parts = path.split("/")
    if len(parts) != 3 or parts[0] != "blobs":
        return None
    try:
        return digests.validate(f"{parts[1]}:{parts[2]}")
    except InvalidArgument:
        return None


def _may_be_dockers(path: str) -> bool:
    """Whether Docker's manifest.json may name this file: configs and layers lie at most one level deep."""
    return path.count("/") < _DOCKER_DEPTH and path.endswith((*_LAYER_ENDINGS, ".json"))


def _normal(path: str) -> str:
    """A path without "./" and "..": it is only looked up in dictionaries, never opened."""
    return os.path.normpath("/" + path).lstrip("/")
