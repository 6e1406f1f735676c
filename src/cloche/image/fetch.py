"""One blob from a registry into the content store: resumed, verified, and never twice at once."""

from __future__ import annotations

from cloche.errors import Cancelled, DataLoss, Unavailable
from cloche.image import progress as news
from cloche.image import ranges
from cloche.image.progress import BlobStatus
from cloche.image.registry import BrokenOff
from cloche.image.retry import Retries
from cloche.spec import image as documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.image.progress import Progress
    from cloche.image.registry import Registry
    from cloche.spec.image import Descriptor
    from cloche.store.content import ContentStore
    from cloche.store.ingest import Writer

_ATTEMPTS = 6
_CHUNK_BYTES = 1 << 20
_REPORT_BYTES = 4 << 20
_PROGRESS_BYTES = 64 << 10  # a connection that broke off after less brought nothing
_FIRST_LOOK_S = 0.01
_LONGEST_LOOK_S = 0.5


def kind(descriptor: Descriptor) -> str:
    """What a descriptor points to: index, manifest, config, or layer for everything else."""
    if descriptor.media_type in documents.INDEX_TYPES:
        return "index"
    if descriptor.media_type in documents.MANIFEST_TYPES:
        return "manifest"
    return "config" if descriptor.media_type in documents.CONFIG_TYPES else "layer"


def ingest_ref(descriptor: Descriptor) -> str:
    """The content store's name for this download, the same in every process (and in containerd)."""
    return f"{kind(descriptor)}-{descriptor.digest}"


def store(content: ContentStore, descriptor: Descriptor, data: bytes) -> None:
    """Put a document that is in memory into the store. Raises DataLoss where its digest is another."""
    if content.exists(descriptor.digest):
        return
    with content.writer(
        f"put-{descriptor.digest}-{id(data):x}", digest=descriptor.digest, size=descriptor.size
    ) as writer:
        writer.restart()
        writer.write(data)
        writer.commit()


class _WholeOnlyError(Exception):
    """The registry knows no ranges."""


class Fetcher:
    """Downloads blobs of one repository. Safe to use from several threads."""

    def __init__(self, registry: Registry, content: ContentStore, progress: Progress) -> None:
        self._registry = registry
        self._content = content
        self._progress = progress
        self._whole_only = False
        self.unpacks = False
        """Whether layers are unpacked afterwards, so that it is not for us to say that they are done."""

    def report(self, descriptor: Descriptor, status: str, offset: int = 0) -> None:
        """Tell the progress of one blob."""
        self._progress.update(
            BlobStatus(descriptor.digest, kind(descriptor), status, offset, descriptor.size)
        )

    def fetch(self, descriptor: Descriptor) -> bool:
        """Have the blob in the content store; False where it was there already.

        Waits for another thread or process that is downloading the same one, and takes over
        what it leaves behind. Raises DataLoss when what arrives is not what the digest says,
        else as Registry.blob; Cancelled.
        """
        if self._content.exists(descriptor.digest):
            self.report(descriptor, news.EXISTS, descriptor.size)
            return False
        if descriptor.data is not None:
            store(self._content, descriptor, descriptor.data)
        else:
            writer = self._claim(descriptor)
            if writer is None:
                self.report(descriptor, news.EXISTS, descriptor.size)
                return False
            with writer:
                self._download(descriptor, writer)
        if kind(descriptor) != "layer" or not self.unpacks:
            self.report(descriptor, news.DONE, descriptor.size)
        return True

    def _claim(self, descriptor: Descriptor) -> Writer | None:
        """The right to download; None when somebody else has finished doing it."""
        pause_s = _FIRST_LOOK_S
        while True:
            try:
                writer = self._content.writer(
                    self._content.own_ref(ingest_ref(descriptor)),
                    digest=descriptor.digest,
                    size=descriptor.size,
                )
            except Unavailable:
                self.report(descriptor, news.WAITING)
                if self._registry.cancelled.wait(pause_s):
                    raise Cancelled("the transfer was cancelled") from None
                pause_s = min(pause_s * 1.5, _LONGEST_LOOK_S)
                continue
            if self._content.exists(descriptor.digest):
                writer.abort()
                return None
            return writer

    def _download(self, descriptor: Descriptor, writer: Writer) -> None:
        resumed = writer.offset > 0
        try:
            if writer.offset > descriptor.size:
                writer.restart()
            self._receive(descriptor, writer)
            writer.commit()
        except DataLoss:
            writer.abort()
            if not resumed:
                raise
            # The damage may come from the attempt that was resumed; this one starts from nothing.
            again = self._claim(descriptor)
            if again is not None:
                with again:
                    self._download(descriptor, again)

    def _receive(self, descriptor: Descriptor, writer: Writer) -> None:
        """Read until the writer has every byte, asking again for the rest where it breaks off."""
        retries = Retries(_ATTEMPTS, self._registry.cancelled)
        while writer.offset < descriptor.size:
            before = writer.offset
            try:
                if not self._receive_pieces(descriptor, writer):
                    self._receive_once(descriptor, writer)
            except BrokenOff:
                if writer.offset - before >= _PROGRESS_BYTES:
                    retries.progressed()
                if not retries.again():
                    raise

    def _receive_pieces(self, descriptor: Descriptor, writer: Writer) -> bool:
        """The same by several requests at once; False where it is not worth that, or not possible."""
        if self._whole_only or descriptor.urls or descriptor.size - writer.offset < ranges.WORTH_BYTES:
            return False

        def fetch(offset: int, length: int) -> bytes:
            data = self._registry.piece(descriptor, offset, length)
            if data is None:
                raise _WholeOnlyError
            return data

        self.report(descriptor, news.DOWNLOADING, writer.offset)
        try:
            for data in ranges.pieces(fetch, writer.offset, descriptor.size):
                writer.write(data)
                self.report(descriptor, news.DOWNLOADING, writer.offset)
        except _WholeOnlyError:
            self._whole_only = True
            return False
        return True

    def _receive_once(self, descriptor: Descriptor, writer: Writer) -> None:
        reported = writer.offset
        self.report(descriptor, news.DOWNLOADING, reported)
        with self._registry.blob(descriptor, writer.offset) as blob:
            # One byte more than there should be is asked for: a longer body must be noticed.
            while data := blob.read(min(_CHUNK_BYTES, descriptor.size - writer.offset + 1)):
                writer.write(data)
                if writer.offset - reported >= _REPORT_BYTES:
                    reported = writer.offset
                    self.report(descriptor, news.DOWNLOADING, reported)
        if writer.offset < descriptor.size:
            raise BrokenOff(
                f"{self._registry.reference}: {descriptor.digest}: only {writer.offset} of "
                f"{descriptor.size} bytes arrived"
            )
