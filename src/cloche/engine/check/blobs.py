"""Blobs that are not what their names say, and downloads that nobody goes on with."""

from __future__ import annotations

import os

from cloche.engine.check.finding import Fault
from cloche.errors import ClocheError, NotFound, Unavailable
from cloche.spec import digest as digests
from cloche.store import ingest
from cloche.store.snapshots import trash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cloche.store.content import ContentStore

    Watcher = Callable[[int, int], None]
    """Told after each piece how many bytes were read, and how many there are."""

_CHUNK_BYTES = 1 << 20


def damaged(content: ContentStore, needed_by: Mapping[str, list[str]], watch: Watcher) -> Iterator[Fault]:
    """Read every blob. needed_by: the names of the images that need a digest."""
    paths = list(_paths(content))
    reading = _Reading(sum(_size(path) for _, path in paths), watch)
    for digest, path in paths:
        problem, identity = _problem(reading, digest, path)
        if not problem:
            continue
        images = needed_by.get(digest, [])
        remedy = "remove it"
        if images:
            remedy += f", so that the next pull of {' or '.join(images)} brings it again"
        yield Fault("blob", digest, problem, remedy, _removal(content, path, identity))


def _paths(content: ContentStore) -> Iterator[tuple[str, str]]:
    """(digest, path) of all that lies among the blobs, whatever its name."""
    for algorithm in _names(f"{content.root}/blobs"):
        for name in _names(f"{content.root}/blobs/{algorithm}"):
            yield f"{algorithm}:{name}", f"{content.root}/blobs/{algorithm}/{name}"


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _size(path: str) -> int:
    try:
        return os.stat(path, follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


class _Reading:
    def __init__(self, total: int, watch: Watcher) -> None:
        self._total = total
        self._watch = watch
        self._done = 0

    def digest(self, descriptor: int, algorithm: str) -> str:
        """The digest of what the descriptor has."""
        hashing = digests.hasher(algorithm)
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            hashing.update(chunk)
            self._done += len(chunk)
            self._watch(self._done, self._total)
        return f"{algorithm}:{hashing.hexdigest()}"


def _problem(reading: _Reading, digest: str, path: str) -> tuple[str, tuple[int, int]]:
    """What is wrong with a blob, empty if nothing; and which file that was said of."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return "", (0, 0)
    identity = (status.st_dev, status.st_ino)
    try:
        algorithm, _ = digests.parse(digest)
    except ClocheError:
        return "its name is no digest", identity
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return "", identity
    except OSError as error:
        return f"cannot be read: {(error.strerror or '').lower()}", identity
    try:
        found = reading.digest(descriptor, algorithm)
    except OSError as error:
        return f"cannot be read: {(error.strerror or '').lower()}", identity
    finally:
        os.close(descriptor)
    return ("" if found == digest else f"damaged: its bytes have the digest {found}"), identity


def _removal(content: ContentStore, path: str, identity: tuple[int, int]) -> Callable[[], bool]:
    def remove() -> bool:
        with content.locked(exclusive=True):
            try:
                status = os.stat(path, follow_symlinks=False)
            except FileNotFoundError:
                return True
            if (status.st_dev, status.st_ino) != identity:
                return True  # a pull has replaced it meanwhile, with what it had verified
            trash.discard(path, f"{content.root}/trash")
        trash.empty(f"{content.root}/trash")
        return True

    return remove


def interrupted(content: ContentStore, leased: frozenset[str]) -> Iterator[Fault]:
    """Ingests that no process writes to. leased: the refs that a lease keeps, to be resumed."""
    for left in ingest.left(content):
        if left.ref not in leased:
            problem = f"interrupted after {left.size} bytes, and nobody goes on with it"
            yield Fault("ingest", left.ref, problem, "forget it", _forgetting(left))


def _forgetting(left: ingest.Left) -> Callable[[], bool]:
    def forget() -> bool:
        try:
            ingest.forget(left.directory, left.ref)
        except (NotFound, Unavailable):
            return False
        return True

    return forget
