"""A blob that is here already, as the writer of it that a client expects (containerd's "shared" policy).

It stands at its end: the client has nothing to send, and its commit, with its labels, makes the blob its
namespace's too. Nothing is in the store meanwhile, so that another namespace may remove the blob first.
"""

from __future__ import annotations

from cloche.errors import FailedPrecondition, NotFound
from cloche.store import clock
from cloche.store.ingest import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.store.content import ContentStore


class Borrowed:
    """Stands where a store.ingest.Writer would, for who sends nothing. offset: the blob's size."""

    def __init__(self, ref: str, digest: str, size: int) -> None:
        self.ref = ref
        self.digest = digest
        self.offset = size
        self._began_at = clock.now()

    def status(self) -> Status:
        """As of an ingest that has every byte."""
        times = {"started_at": self._began_at, "updated_at": self._began_at}
        return Status(self.ref, self.offset, self.offset, self.digest, active=True, **times)

    def write(self, data: bytes) -> None:
        """There is nothing to add. Raises FailedPrecondition."""
        raise FailedPrecondition(
            f"content {self.digest}: {len(data)} bytes more than the {self.offset} that it has"
        )

    def commit(self, *, digest: str | None = None, size: int | None = None) -> str:
        """Its digest. Raises FailedPrecondition where the client expects something else."""
        if size is not None and size != self.offset:
            raise FailedPrecondition(f"content {self.digest}: has {self.offset} bytes, {size} expected")
        if digest is not None and digest != self.digest:
            raise FailedPrecondition(f"content {self.digest}: is not the expected {digest}")
        return self.digest

    def abort(self) -> None:
        """Nothing is kept for it."""

    def close(self) -> None:
        """The same."""


def borrowed(content: ContentStore, ref: str, digest: str, total: int) -> Borrowed | None:
    """The blob, where it is here to be used and as long as expected (total: 0 for any length)."""
    try:
        size = content.size(digest) if content.exists(digest) else -1
    except NotFound:  # since
        return None
    return Borrowed(ref, digest, size) if size >= 0 and total in (0, size) else None
