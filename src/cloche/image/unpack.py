"""Unpacking: the layers of an image become committed snapshots, named by their chain ids.

For overlayfs every layer is extracted into a directory of its own, several at once, with nothing
mounted; at the end one transaction makes all of them snapshots:

    ROOT/snapshots/new-<random>/fs      being filled, locked (a crash leaves it to `cleanup`)
        │ rename                        inside the transaction that prepares and commits its snapshot
    ROOT/snapshots/<id>/fs

So a failure leaves nothing, and two who unpack one image at a time do not disturb each other: the
second finds the first's snapshots there. Snapshotters that copy take the layers one after another.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from fcntl import LOCK_EX, flock, ioctl
from sys import byteorder

from cloche.errors import AlreadyExists, InvalidArgument
from cloche.image import inherit, layer
from cloche.image.apply import apply_to, upper_of
from cloche.image.layertree import remove
from cloche.image.processors import NONE
from cloche.spec import image as documents
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cloche.image.compression import Source
    from cloche.image.layer import LayerLimits, LayerResult
    from cloche.image.processors import Processors
    from cloche.spec.image import Descriptor, ImageConfig, Manifest
    from cloche.store.content import ContentStore
    from cloche.store.metadata import Metadata, WriteTransaction
    from cloche.store.snapshots.local import LocalSnapshotter

_WORKERS = 2
_FAREWELL_S = 2.0
_GET_FLAGS, _SET_FLAGS, _TOP_DIRECTORY = 0x8008_6601, 0x4008_6602, 0x0002_0000  # FS_IOC_…, FS_TOPDIR_FL
_OVERLAY = "overlayfs"


class Step(Record):
    """One layer that is still to be unpacked. parent: the chain id below it, empty for none."""

    blob: Descriptor
    diff_id: str
    chain_id: str
    parent: str

    @property
    def title(self) -> str:
        """Its name in messages."""
        return f"layer {self.blob.digest}"


def unpack(
    manifest: Manifest,
    config: ImageConfig,
    *,
    content: ContentStore,
    metadata: Metadata,
    snapshotter: LocalSnapshotter,
    wait: Callable[[str], object] | None = None,
    limits: LayerLimits | None = None,
    durable: bool = True,
    processors: Processors = NONE,
) -> str:
    """Make snapshots of an image's layers; returns the chain id of them all.

    wait: called with a blob's digest before it is opened, for layers that are still arriving, and
    returns when it is there. Snapshots that are there already are used.
    durable: wait until the files are on disk before the snapshots are committed.
    processors: what makes layers of other media types ordinary ones.
    Raises what layer.apply does, with nothing left behind.
    """
    with Unpacking(
        manifest,
        config,
        content=content,
        metadata=metadata,
        snapshotter=snapshotter,
        limits=limits,
        processors=processors,
    ) as unpacking:
        unpacking.extract(wait, durable=durable)
        with metadata.write() as tx:
            return unpacking.commit(tx)


class Unpacking:
    """One unpacking in its two parts, for callers with a transaction of their own.

    Use as a context manager: extract(), which takes long, then commit() inside a transaction.
    Leaving the block removes what was not committed.
    workers: how many layers at once, where they do not need each other; 0 for a few.
    """

    def __init__(
        self,
        manifest: Manifest,
        config: ImageConfig,
        *,
        content: ContentStore,
        metadata: Metadata,
        snapshotter: LocalSnapshotter,
        limits: LayerLimits | None = None,
        processors: Processors = NONE,
        workers: int = 0,
    ) -> None:
        self._content = content
        self._metadata = metadata
        self._snapshotter = snapshotter
        self._limits = limits
        self._processors = processors
        self._workers = workers or _WORKERS
        self.chain_id = documents.chain_id(config.diff_ids)
        self.steps = self._missing(manifest.layers, config.diff_ids)
        self._extracted: dict[str, _Directory] = {}
        self._over = False
        self._done: Callable[[str], object] | None = None

    def __enter__(self) -> Unpacking:
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        for directory in tuple(self._extracted.values()):
            directory.discard()
        self._extracted.clear()

    def _missing(self, layers: Sequence[Descriptor], diff_ids: Sequence[str]) -> list[Step]:
        """What is not unpacked yet: all layers above the highest snapshot that is there."""
        if len(layers) != len(diff_ids):
            raise InvalidArgument(f"a manifest of {len(layers)} layers with a config of {len(diff_ids)}")
        chain = documents.chain_ids(diff_ids)
        parents = ("", *chain)
        steps = [Step(*values) for values in zip(layers, diff_ids, chain, parents, strict=False)]
        with self._metadata.read() as tx:
            for count in range(len(steps), 0, -1):
                if self._snapshotter.exists(tx, steps[count - 1].chain_id):
                    return steps[count:]
        return steps

    def extract(
        self,
        wait: Callable[[str], object] | None = None,
        *,
        done: Callable[[str], object] | None = None,
        durable: bool = True,
    ) -> None:
        """Extract every layer that is missing (see unpack for the arguments).

        done: called with a blob's digest when it is extracted, in whatever thread did it.
        """
        if not self.steps:
            return
        self._done = done
        if self._snapshotter.name == _OVERLAY:
            _in_threads(self.steps, lambda step: self._extract_overlay(step, wait), self._workers)
            if durable:
                self._snapshotter.sync()
        else:
            for step in self.steps:
                self._extract_copy(step, wait, durable=durable)

    def commit(self, tx: WriteTransaction) -> str:
        """Make snapshots of what was extracted, as part of a transaction; returns the chain id."""
        for step in self.steps:
            directory = self._extracted.get(step.chain_id)
            if directory is not None and not self._snapshotter.exists(tx, step.chain_id):
                self._commit_overlay(tx, step, directory)
        return self.chain_id

    def _extract_overlay(self, step: Step, wait: Callable[[str], object] | None) -> None:
        if wait is not None:
            wait(step.blob.digest)
        if self._over:
            return
        directory = _Directory(self._snapshotter.root)
        self._extracted[step.chain_id] = directory
        root = os.open(directory.fs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with self._opened(step) as stream:
                directory.result = layer.apply(
                    stream, root, diff_id=step.diff_id, limits=self._limits, layer=step.title
                )
        finally:
            os.close(root)
        self._tell(step)

    @contextmanager
    def _opened(self, step: Step) -> Iterator[Source]:
        with (
            open(self._content.open(step.blob.digest), "rb", buffering=0) as blob,
            self._processors.opened(
                blob, step.blob.media_type, layer=step.title, limits=self._limits
            ) as stream,
        ):
            yield stream

    def _tell(self, step: Step) -> None:
        if self._done is not None:
            self._done(step.blob.digest)

    def _commit_overlay(self, tx: WriteTransaction, step: Step, directory: _Directory) -> None:
        """Prepare a snapshot, put the extracted directory in the place of its empty one, and commit."""
        key = f"unpack {step.chain_id} {directory.name}"
        mounts = self._snapshotter.prepare(tx, key, step.parent or None)
        upper, lowers = upper_of(mounts)
        inherit.complete(directory.fs, lowers, directory.result)
        os.rename(directory.fs, upper)
        tx.on_rollback(lambda: os.rename(upper, directory.fs))
        self._snapshotter.commit(tx, step.chain_id, key)

    def _extract_copy(self, step: Step, wait: Callable[[str], object] | None, *, durable: bool) -> None:
        """Extract upon a copy of the layers below, with deleted names removed, and commit at once."""
        if wait is not None:
            wait(step.blob.digest)
        key = f"unpack {step.chain_id} {os.urandom(8).hex()}"
        with self._metadata.write() as tx:
            mounts = self._snapshotter.prepare(tx, key, step.parent or None)
        try:
            with self._opened(step) as stream:
                apply_to(mounts, stream, name=step.title, diff_id=step.diff_id, limits=self._limits)
            self._tell(step)
            if durable:
                self._snapshotter.sync()
            with self._metadata.write() as tx:
                self._snapshotter.commit(tx, step.chain_id, key)
        except BaseException as error:
            with self._metadata.write() as tx:
                self._snapshotter.remove(tx, key)
            self._snapshotter.purge()
            if not isinstance(error, AlreadyExists):
                raise


class _Directory:
    """A directory that a layer is extracted into, locked until it is a snapshot or discarded."""

    result: LayerResult

    def __init__(self, root: str) -> None:
        self.name = os.urandom(8).hex()
        self._path = f"{root}/snapshots/new-{self.name}"
        self.fs = f"{self._path}/fs"
        os.makedirs(root, mode=0o700, exist_ok=True)
        os.makedirs(f"{root}/snapshots", mode=0o700, exist_ok=True)
        os.mkdir(self._path, 0o700)
        self._lock = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        flock(self._lock, LOCK_EX)
        _place_apart(self._lock)
        os.mkdir(self.fs, 0o755)

    def discard(self) -> None:
        """Remove what is there, which is only an empty directory once the layer is a snapshot."""
        parent = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            remove(parent, os.path.basename(os.fsencode(self._path)))
        except OSError:
            # An interrupted thread may still write there; without its lock it is `cleanup`'s.
            pass
        finally:
            os.close(parent)
            os.close(self._lock)


def _place_apart(directory: int) -> None:
    """Have ext4 put what is made in this directory into a block group with room, not beside its parent.

    Layers that are extracted at the same time then do not contend for one group. It matters most where
    ext4 has no journal (many virtual machines for one use): it looks at every inode deleted in the last
    minutes before it makes a file in that group, and a pull after a removal took three times as long.
    Other file systems have no such hint.
    """
    try:
        flags = int.from_bytes(ioctl(directory, _GET_FLAGS, bytes(8))[:4], byteorder)
        ioctl(directory, _SET_FLAGS, (flags | _TOP_DIRECTORY).to_bytes(8, byteorder))
    except OSError:
        pass


def _in_threads(steps: Sequence[Step], extract: Callable[[Step], None], workers: int) -> None:
    """Call `extract` for every step, so many at a time; the first error ends it.

    Threads that wait for a layer meanwhile are left behind, as daemons: the wait ends with the
    download that it is for.
    """
    from queue import SimpleQueue
    from threading import Lock, Thread

    todo = list(reversed(steps))
    ended: SimpleQueue[BaseException | None] = SimpleQueue()
    lock = Lock()

    def work() -> None:
        try:
            while True:
                with lock:
                    if not todo:
                        break
                    step = todo.pop()
                extract(step)
        except BaseException as error:
            ended.put(error)
        else:
            ended.put(None)

    if len(steps) == 1:
        extract(steps[0])
        return
    count = min(workers, len(steps))
    threads = [Thread(target=work, name=f"unpack {number}", daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        for _ in threads:
            error = ended.get()
            if error is not None:
                raise error
    except BaseException:
        with lock:
            todo.clear()
        for thread in threads:
            thread.join(_FAREWELL_S)
        raise
