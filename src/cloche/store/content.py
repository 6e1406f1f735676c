"""Content: blobs by digest, read-only once they are there.

    ROOT/blobs/<algorithm>/<hex>      whole and verified
    ROOT/ingest/<hash of ref>/        arriving (store.ingest)
    ROOT/trash/                       on its way out
    ROOT/lock                         held shared while a blob is put in place or its age renewed,
                                      exclusively while the collector takes one away

A blob's modification time says when it was last put or wanted; what nothing refers to is kept for
a day after that (store.collect).
"""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_SH, flock

from cloche.errors import DataLoss, NotFound, ResourceExhausted
from cloche.spec import digest as digests
from cloche.spec.record import Record
from cloche.store import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from cloche.store.holdings import Holdings
    from cloche.store.ingest import Status, Writer
    from cloche.store.metadata import WriteTransaction


class Info(Record):
    """A blob as it lies on disk. used_at: when it was last put or wanted, in ns since 1970."""

    digest: str
    size: int
    used_at: int


class ContentStore:
    """The blobs below a directory, which is made when the first one arrives."""

    blocks = False
    """Whether its answers are waited for, so that no event loop may ask it."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._holdings: Holdings | None = None

    def seen_by(self, holdings: Holdings | None) -> Self:
        """The same store as one namespace sees it: what it does not have is not here. None: with every blob.

        All that is put into it is the namespace's. `walk`, `delete` and what collects look at every blob.
        """
        seen = self.__class__.__new__(self.__class__)
        seen.__dict__.update(self.__dict__)
        seen._holdings = holdings
        return seen

    def hides(self, digest: str) -> bool:
        """Whether a blob is not to be seen, be it on the disk or not."""
        return self._holdings is not None and not self._holdings.has(digest)

    def arrived(self, digest: str) -> None:
        """All bytes of a blob have come, and it is in place: it may be seen by who sent them."""
        if self._holdings is not None:
            self._holdings.add(digest)

    def own_ref(self, ref: str) -> str:
        """The name of an ingest that whoever sees the same blobs may resume, and nobody else."""
        return ref if self._holdings is None else f"{self._holdings.namespace}/{ref}"

    def path(self, digest: str) -> str:
        """Where the blob is, or would be. Raises InvalidArgument for what is no digest."""
        algorithm, digits = digests.parse(digest)
        return f"{self.root}/blobs/{algorithm}/{digits}"

    def open(self, digest: str) -> int:
        """A descriptor of the blob for reading, from its start. Raises NotFound."""
        path = self.path(digest)
        if self.hides(digest):
            raise _not_here(digest)
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise _not_here(digest) from None

    def read(self, digest: str, *, limit_bytes: int = 4 << 20) -> bytes:
        """The whole blob, verified once more.

        Raises NotFound, ResourceExhausted when it is larger than `limit_bytes`, and DataLoss when
        the disk has something else than the digest says.
        """
        descriptor = self.open(digest)
        try:
            size = os.fstat(descriptor).st_size
            if size > limit_bytes:
                raise ResourceExhausted(f"content {digest}: has {size} bytes; at most {limit_bytes} are read")
            data = _read_all(descriptor, size)
        finally:
            os.close(descriptor)
        if digests.of(data, digests.parse(digest)[0]) != digest:
            raise DataLoss(f"content {digest}: damaged on disk: remove it and pull again")
        return data

    def part(self, digest: str, offset: int, size: int) -> bytes:
        """Some bytes of a blob, as far as it has them. Raises NotFound."""
        descriptor = self.open(digest)
        try:
            return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)

    def document(self, digest: str, limit_bytes: int) -> bytes | None:
        """The whole blob where it is no larger and looks like JSON, else None. Raises NotFound, DataLoss."""
        if self.part(digest, 0, 1) != b"{" or self.size(digest) > limit_bytes:
            return None
        return self.read(digest)

    def exists(self, digest: str) -> bool:
        """Whether the blob is here; if so it stays for another day, whatever refers to it."""
        path = self.path(digest)
        if self.hides(digest) or not os.path.exists(path):
            return False
        try:
            with self.locked():
                renew(path)
        except FileNotFoundError:
            return False
        return True

    def size(self, digest: str) -> int:
        """The blob's size in bytes. Raises NotFound."""
        return self.info(digest).size

    def info(self, digest: str) -> Info:
        """What the disk knows of a blob. Raises NotFound."""
        path = self.path(digest)
        if self.hides(digest):
            raise _not_here(digest)
        return self._info(digest, path)

    def _info(self, digest: str, path: str) -> Info:
        try:
            status = os.stat(path, follow_symlinks=False)
        except FileNotFoundError:
            raise _not_here(digest) from None
        return Info(digest, status.st_size, status.st_mtime_ns)

    def walk(self) -> Iterator[Info]:
        """Every blob, in no order; blobs that come or go meanwhile may be missed."""
        for algorithm in digests.HEX_LENGTHS:
            try:
                entries = os.scandir(f"{self.root}/blobs/{algorithm}")
            except FileNotFoundError:
                continue
            with entries:
                for entry in entries:
                    digest = f"{algorithm}:{entry.name}"
                    try:
                        yield self._info(digest, self.path(digest))
                    except NotFound:
                        continue

    def delete(self, digest: str) -> None:
        """Remove a blob whoever refers to it. Raises NotFound.

        Those who have it open can read on; the space is free when they close it.
        """
        path = self.path(digest)
        with self.locked(exclusive=True):
            try:
                os.unlink(path)
            except FileNotFoundError:
                raise _not_here(digest) from None

    def take_away(self, tx: WriteTransaction, digest: str, may_go: Callable[[Info], bool]) -> bool:
        """Move a blob to the trash within a transaction, if it still may go; whether it was so.

        The caller has the lock exclusively. `purge` deletes it.
        """
        try:
            if not may_go(self.info(digest)):
                return False
        except NotFound:
            return False
        from cloche.store.snapshots import trash

        trash.discard(self.path(digest), f"{self.root}/trash")
        return True

    def purge(self) -> None:
        """Delete what is in the trash."""
        from cloche.store.snapshots import trash

        trash.empty(f"{self.root}/trash")

    def close(self) -> None:
        """Let go of what is held between calls: nothing, on a disk."""

    def put(self, data: bytes) -> str:
        """Store bytes that are whole already; returns their digest."""
        digest = digests.of(data)
        if not self.exists(digest):
            ref = f"put {digest} {os.getpid()} {os.urandom(8).hex()}"
            with self.writer(ref, digest=digest, size=len(data)) as writer:
                writer.write(data)
                writer.commit()
        return digest

    def writer(self, ref: str, *, digest: str | None = None, size: int | None = None) -> Writer:
        """Begin, or resume, the ingest called `ref` (store.ingest.Writer says how it goes on).

        digest, size: what is expected, if known; `commit` insists on them.
        Raises Unavailable at once while another writer has this ref.
        """
        from cloche.store.ingest import Writer

        return Writer(self, ref, digest=digest, size=size)

    def ingests(self) -> Iterator[Status]:
        """What is arriving, or was interrupted."""
        from cloche.store.ingest import statuses

        return statuses(self)

    def status(self, ref: str) -> Status:
        """One ingest. Raises NotFound."""
        from cloche.store.ingest import status

        return status(self, ref)

    def forget_ingests(self, before: int, keep: frozenset[str]) -> list[str]:
        """Forget interrupted ingests that nobody wrote to since `before` (ns); returns their refs.

        keep: refs that a lease holds.
        """
        from cloche.store.ingest import forget_older

        return forget_older(self, before, keep)

    def abort(self, ref: str) -> None:
        """Forget an interrupted ingest. Raises NotFound, or Unavailable while it has a writer."""
        from cloche.store.ingest import abort

        abort(self, ref)

    def locked(self, *, exclusive: bool = False) -> _Lock:
        """A `with` block in which no collector works; or, exclusively, no one else puts a blob."""
        return _Lock(self.root, LOCK_EX if exclusive else LOCK_SH)


class _Lock:
    def __init__(self, root: str, kind: int) -> None:
        self._root = root
        self._kind = kind

    def __enter__(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            self._descriptor = os.open(f"{self._root}/lock", flags, 0o600)
        except FileNotFoundError:
            os.makedirs(self._root, mode=0o700, exist_ok=True)
            self._descriptor = os.open(f"{self._root}/lock", flags, 0o600)
        flock(self._descriptor, self._kind)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _not_here(digest: str) -> NotFound:
    return NotFound(f"content {digest}: not here")


def renew(path: str) -> None:
    """Say that the blob at a path is wanted now."""
    now = clock.now()
    os.utime(path, ns=(now, now))


def _read_all(descriptor: int, size: int) -> bytes:
    data = os.read(descriptor, size + 1)
    if len(data) >= size:
        return data
    parts = [data]
    while chunk := os.read(descriptor, 1 << 20):
        parts.append(chunk)
    return b"".join(parts)
