"""What a pull or push tells of each blob while it works."""

from __future__ import annotations

import threading

from cloche.spec.record import Record

WAITING = "waiting"
DOWNLOADING = "downloading"
UPLOADING = "uploading"
EXTRACTING = "extracting"
DONE = "done"
EXISTS = "exists"
"""EXISTS: the blob was here before (it may be extracted still). DONE: it is here now, and unpacked where
that was asked for."""


class BlobStatus(Record):
    """How far one blob is. kind: index, manifest, config or layer; sizes in bytes, compressed."""

    digest: str
    kind: str
    status: str
    offset: int
    size: int


class Progress:
    """Receives the news of a pull. This one drops them; subclasses override `update`.

    `update` is called from several threads, up to some hundred times a second, and must be quick.
    """

    def update(self, blob: BlobStatus) -> None:
        """A blob is known now, or its status or offset changed."""


class Recorder(Progress):
    """Keeps the last status of each blob, for those who prefer to look now and then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blobs: dict[str, BlobStatus] = {}

    def update(self, blob: BlobStatus) -> None:
        """Replace what was known of the blob."""
        with self._lock:
            self._blobs[blob.digest] = blob

    def blobs(self) -> list[BlobStatus]:
        """Every blob so far, in the order in which they became known."""
        with self._lock:
            return list(self._blobs.values())
