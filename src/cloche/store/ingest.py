"""Ingests: content on its way in.

    ROOT/ingest/<sha256 of the ref>/lock    held by the ref's writer
                                   /ref     a JSON line: ref, expected digest and size, started
                                   /data    the bytes so far

A writer that goes away without a word (a crash, a lost client) frees the lock, and the bytes stay
for the next writer of the same ref, which hashes them again before it goes on: what lies in data
is not trusted. A blob is put in place by one rename after its bytes are on disk.
"""

from __future__ import annotations

import errno
import os

from cloche.errors import DataLoss, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from cloche.spec import digest as digests
from cloche.spec import document
from cloche.spec.record import Record
from cloche.store import clock, faults, locks
from cloche.store.identifiers import validate_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Self

    from cloche.spec.digest import Hasher
    from cloche.store.content import ContentStore

_CHUNK_BYTES = 1 << 20


class Status(Record):
    """An ingest as others see it. offset, total: bytes there and expected (0: unknown); times in ns."""

    ref: str
    offset: int
    total: int
    expected: str
    started_at: int
    updated_at: int
    active: bool


class Writer:
    """The one writer of a ref: write, then commit or abort; a `with` block closes it.

    Closing without either keeps the bytes, so that the same ref can be resumed: a new writer's
    `offset` says how many bytes are there already, and `restart` drops them.
    """

    def __init__(self, store: ContentStore, ref: str, *, digest: str | None, size: int | None) -> None:
        validate_name(ref, "ingest ref")
        self._algorithm = digests.parse(digest)[0] if digest else "sha256"
        if size is not None and size < 0:
            raise InvalidArgument(f"ingest {ref!r}: size must not be negative")
        self._store = store
        self._digest = digest
        self._size = size
        self.ref = ref
        self._directory = _directory(store, ref)
        self._lock = _claim(self._directory, ref)
        self._file = -1
        try:
            self._file = os.open(
                f"{self._directory}/data", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            self._note()
            self._hash, self.offset = self._resume()
            if size is not None and self.offset > size:
                self.restart()
        except BaseException:
            self.close()
            raise

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes.

        Raises DataLoss as soon as there are more than the expected size, and ResourceExhausted when
        the disk is full; what was written until then is kept.
        """
        view = memoryview(data).cast("B")
        if self._size is not None and self.offset + len(view) > self._size:
            raise DataLoss(f"{self._what()}: more than the expected {self._size} bytes arrived")
        while view:
            written = self._write(view)
            self._hash.update(view[:written])
            self.offset += written
            view = view[written:]

    def _write(self, view: memoryview) -> int:
        try:
            return os.write(self._file, view)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise ResourceExhausted(f"{self._what()}: no space left in {self._store.root}") from error
            raise

    def restart(self) -> None:
        """Drop the bytes that are there and begin again at offset 0."""
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self._hash, self.offset = digests.hasher(self._algorithm), 0

    def commit(self, *, digest: str | None = None, size: int | None = None) -> str:
        """Make the blob appear, whole and durable; returns its digest. The writer is closed.

        Fewer bytes than expected raise DataLoss and are kept for a resume; bytes with another
        digest than expected raise DataLoss and are dropped. A blob that is there already stays.
        """
        found = self.digest
        for expected_size in (self._size, size):
            if expected_size is not None and expected_size != self.offset:
                raise DataLoss(f"{self._what()}: {self.offset} bytes arrived, {expected_size} expected")
        for expected in (self._digest, digest):
            if expected is not None and expected != found:
                self.abort()
                raise DataLoss(f"{self._what()}: its digest is {found}, not the expected {expected}")
        self._put_in_place(self._store.path(found))
        self.abort()
        self._store.arrived(found)
        return found

    @property
    def digest(self) -> str:
        """The digest of the bytes so far."""
        return f"{self._algorithm}:{self._hash.hexdigest()}"

    def abort(self) -> None:
        """Forget the ingest and its bytes, and close."""
        if self._lock >= 0:
            _remove(self._directory)
            self.close()

    def close(self) -> None:
        """Free the ref; bytes that were not committed stay for a resume."""
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_lock", -1) >= 0:
            self.close()

    def _what(self) -> str:
        return f"content {self._digest or self.ref}"

    def _note(self) -> None:
        old = _read_note(self._directory)
        note = {
            "ref": self.ref,
            "expected": self._digest or "",
            "total": self._size or 0,
            "started": old["started"] if old else clock.now(),
        }
        temporary = f"{self._directory}/ref.new"
        with open(temporary, "wb") as file:
            file.write(document.dumps(note))
        os.rename(temporary, f"{self._directory}/ref")

    def _resume(self) -> tuple[Hasher, int]:
        hashing = digests.hasher(self._algorithm)
        offset = 0
        while chunk := os.read(self._file, _CHUNK_BYTES):
            hashing.update(chunk)
            offset += len(chunk)
        return hashing, offset

    def _put_in_place(self, target: str) -> None:
        os.fsync(self._file)
        faults.point("content.synced")
        directory = os.path.dirname(target)
        now = clock.now()
        with self._store.locked():
            os.utime(self._file, ns=(now, now))
            # Also where the blob is there already: these bytes were verified a moment ago.
            try:
                os.rename(f"{self._directory}/data", target)
            except FileNotFoundError:
                os.makedirs(directory, exist_ok=True)
                _sync_directory(os.path.dirname(directory))
                os.rename(f"{self._directory}/data", target)
            faults.point("content.renamed")
        os.fchmod(self._file, 0o444)
        _sync_directory(directory)


def _directory(store: ContentStore, ref: str) -> str:
    name = digests.of(ref.encode()).partition(":")[2]
    return f"{store.root}/ingest/{name}"


def _claim(directory: str, ref: str) -> int:
    """Lock an ingest's directory, making it if need be; returns the lock's descriptor."""
    while True:
        try:
            lock = locks.claim(f"{directory}/lock")
        except FileNotFoundError:
            base = os.path.dirname(directory)
            for above in (os.path.dirname(base), base):
                os.makedirs(above, mode=0o700, exist_ok=True)
            try:
                os.mkdir(directory, 0o700)
            except FileExistsError:
                pass  # another writer's, who may be about to remove it: makedirs would not have that
            continue
        if lock is None:
            raise Unavailable(f"ingest {ref!r}: another writer has it: wait for it, or try again")
        return lock


def _remove(directory: str) -> None:
    """Take an ingest away; its lock, which the caller has, goes last."""
    for name in ("ref.new", "ref", "data", "lock"):
        try:
            os.unlink(f"{directory}/{name}")
        except FileNotFoundError:
            pass
    try:
        os.rmdir(directory)
    except OSError:
        pass  # the next writer of the ref is in it already


def _read_note(directory: str) -> dict[str, Any] | None:
    try:
        note = document.load_file(f"{directory}/ref", limit_bytes=1 << 16)
    except (OSError, InvalidArgument):
        return None
    return note if isinstance(note, dict) and isinstance(note.get("started"), int) else None


def statuses(store: ContentStore) -> Iterator[Status]:
    """Every ingest in the store."""
    try:
        names = os.listdir(f"{store.root}/ingest")
    except FileNotFoundError:
        return
    for name in names:
        found = _status(f"{store.root}/ingest/{name}")
        if found is not None:
            yield found


def status(store: ContentStore, ref: str) -> Status:
    """One ingest. Raises NotFound."""
    found = _status(_directory(store, ref))
    if found is None:
        raise NotFound(f"ingest {ref!r}: there is none")
    return found


def _status(directory: str) -> Status | None:
    note = _read_note(directory)
    try:
        data = os.stat(f"{directory}/data", follow_symlinks=False)
    except FileNotFoundError:
        return None
    if note is None:
        return None
    return Status(
        ref=note["ref"],
        offset=data.st_size,
        total=note["total"],
        expected=note["expected"],
        started_at=note["started"],
        updated_at=data.st_mtime_ns,
        active=locks.is_locked(f"{directory}/lock"),
    )


def abort(store: ContentStore, ref: str) -> None:
    """Forget an interrupted ingest. Raises NotFound, or Unavailable while it has a writer."""
    directory = _directory(store, ref)
    if not os.path.isdir(directory):
        raise NotFound(f"ingest {ref!r}: there is none")
    forget(directory, ref)


def forget(directory: str, ref: str) -> None:
    """Forget what lies in an ingest's directory. Raises Unavailable while it has a writer."""
    lock = _claim(directory, ref)
    try:
        _remove(directory)
    finally:
        os.close(lock)


class Left(Record):
    """An ingest that nobody writes to. ref: the directory's name where it is not known."""

    directory: str
    ref: str
    size: int


def left(store: ContentStore) -> Iterator[Left]:
    """Every ingest without a writer, those of which even the ref is lost too."""
    base = f"{store.root}/ingest"
    for name in sorted(os.listdir(base)) if os.path.isdir(base) else ():
        directory = f"{base}/{name}"
        if locks.is_locked(f"{directory}/lock"):
            continue
        note = _read_note(directory)
        try:
            size = os.stat(f"{directory}/data", follow_symlinks=False).st_size
        except FileNotFoundError:
            size = 0
        if os.path.isdir(directory):
            yield Left(directory, str(note["ref"]) if note else name, size)


def forget_older(store: ContentStore, before: int, keep: frozenset[str]) -> list[str]:
    """Forget interrupted ingests that nobody wrote to since `before` (ns); returns their refs.

    keep: refs that a lease holds.
    """
    gone = []
    base = f"{store.root}/ingest"
    for name in os.listdir(base) if os.path.isdir(base) else ():
        directory = f"{base}/{name}"
        note = _read_note(directory)
        ref = str(note["ref"]) if note else name
        try:
            data = f"{directory}/data"
            touched = os.stat(data if os.path.exists(data) else directory).st_mtime_ns
            if touched < before and ref not in keep:
                forget(directory, ref)
                gone.append(ref)
        except (FileNotFoundError, Unavailable):
            continue
    return gone


def _sync_directory(path: str) -> None:
    """Make a rename into a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
