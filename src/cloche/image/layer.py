"""Applying a layer: a stream of bytes, compressed or not, becomes files below a directory.

Two threads share the work. The caller's reads, decompresses and hashes (all of which release the
interpreter's lock); another makes the files, with a umask of its own, so that most need no chmod.
What was applied is only to be used when apply() returned: on any error the caller throws the
directory away.
"""

from __future__ import annotations

import os
from hashlib import sha256, sha512

from cloche.errors import ClocheError, DataLoss, ResourceExhausted
from cloche.image import compression
from cloche.image.extract import Extractor
from cloche.image.tarentry import Limits
from cloche.image.tarstream import Reader
from cloche.image.whiteouts import NoWhiteouts, OverlayWhiteouts, RemovingWhiteouts, Whiteouts
from cloche.kernel import syscalls
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from cloche.image.compression import Source

    Style = Literal["overlay", "remove", "none"]

_CHUNK = 1 << 18
_CHUNKS_AHEAD = 16
_CLONE_FS = 0x200
_LAYER_KINDS = ("plain", "gzip", "zstd")


class LayerLimits(Record):
    """How much a layer may hold, so that a decompression bomb ends before the disk is full.

    bytes: most uncompressed bytes in any case. Above floor_bytes they may also not be more than
    `ratio` times the compressed ones: ordinary layers have 2 to 10, a disk of zeros in gzip 1,000.
    archive: limits on names, headers and entries.
    """

    bytes: int = 1 << 40
    floor_bytes: int = 2 << 30
    ratio: int = 200
    archive: Limits = Limits()

    def allowed(self, compressed: int) -> int:
        """How many bytes may have come out of `compressed` ones."""
        return min(self.bytes, max(self.floor_bytes, self.ratio * compressed))


class LayerResult(Record):
    """What was applied.

    size: uncompressed bytes of the archive; diff_id: their digest; entries: how many members.
    implied: directories that were made because something is in them, though the archive does not
    list them: they stand for those of the layer below, whose metadata they should have; the root ("")
    is among them when the archive has no entry for it.
    opaque_root: the layer hides everything below it.
    """

    size: int
    diff_id: str
    entries: int
    implied: tuple[bytes, ...] = ()
    opaque_root: bool = False


def apply(
    stream: Source,
    root: int,
    *,
    whiteouts: Style = "overlay",
    diff_id: str | None = None,
    limits: LayerLimits | None = None,
    layer: str = "layer",
) -> LayerResult:
    """Extract a layer into the directory descriptor `root`.

    stream: the layer's bytes: gzip, zstd or plain, told by their beginning.
    whiteouts: "overlay" for the empty upper directory of an overlay (devices 0:0 and opaque
    attributes), "remove" for a directory that holds the layers below, "none" for no meaning at all.
    diff_id: the digest that the uncompressed bytes must have. layer: its name in messages.
    Raises InvalidArgument for what no layer may hold, DataLoss for one that is cut, damaged or not the
    one of the digest, ResourceExhausted when a limit is met or the disk is full. Then the directory's
    contents are not to be used.
    """
    limits = limits or LayerLimits()
    style = _STYLES[whiteouts]()
    work = _Work(root, style, limits, layer, fresh=whiteouts == "overlay")
    counted = compression.Counted(stream)
    plain = compression.opened(counted, name=layer, only=_LAYER_KINDS)
    hashed = sha512() if diff_id is not None and diff_id.startswith("sha512:") else sha256()
    size = 0
    with work:
        while data := plain.read(_CHUNK):
            size += len(data)
            if size > limits.allowed(counted.count):
                raise ResourceExhausted(
                    f"{layer}: {counted.count} bytes became {size}: more than may come out of a layer"
                )
            if not work.give(data):
                break
            hashed.update(data)
    found = f"{hashed.name}:{hashed.hexdigest()}"
    if diff_id is not None and found != diff_id:
        raise DataLoss(f"{layer}: the uncompressed bytes are {found}, not {diff_id} as the image says")
    return LayerResult(size, found, work.entries, work.implied, getattr(style, "opaque_root", False))


_STYLES: dict[str, type[Whiteouts]] = {
    "overlay": OverlayWhiteouts,
    "remove": RemovingWhiteouts,
    "none": NoWhiteouts,
}


class _Work:
    """The thread that extracts, and the short queue of bytes in front of it."""

    def __init__(self, root: int, style: Whiteouts, limits: LayerLimits, layer: str, *, fresh: bool) -> None:
        from queue import SimpleQueue
        from threading import Semaphore, Thread

        self._root = root
        self._style = style
        self._limits = limits
        self._layer = layer
        self._fresh = fresh
        self._chunks: SimpleQueue[bytes] = SimpleQueue()
        self._room = Semaphore(_CHUNKS_AHEAD)
        self._ended = False
        self._gave_up = False
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name=f"apply {layer}", daemon=True)
        self.entries = 0
        self.implied: tuple[bytes, ...] = ()

    def __enter__(self) -> None:
        # Its own: when the caller is interrupted the number may mean another directory soon.
        self._root = os.dup(self._root)
        self._thread.start()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Wait for the extraction to end; raise its error unless the stream had one of its own."""
        self._gave_up = error is not None
        self._chunks.put(b"")
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def give(self, data: bytes) -> bool:
        """Hand over some bytes, waiting while there are enough; False when the extraction failed."""
        self._room.acquire()
        if self._ended:
            self._room.release()
            return self._error is None
        self._chunks.put(data)
        return True

    def _take(self, _size: int) -> bytes:
        data = self._chunks.get()
        if not data:
            if self._gave_up:
                raise _GaveUp
            self._chunks.put(b"")
        self._room.release()
        return data

    def _run(self) -> None:
        try:
            self._extract()
        except BaseException as error:
            self._error = error
        os.close(self._root)
        self._ended = True
        self._room.release()

    def _extract(self) -> None:
        extractor = Extractor(
            self._root, self._style, archive=self._layer, fresh=self._fresh, exact_modes=_own_umask()
        )
        extractor.extract(Reader(self._take, archive=self._layer, limits=self._limits.archive))
        self.entries = extractor.count
        self.implied = tuple(extractor.implied)


class _GaveUp(ClocheError):
    """The stream failed; the extraction ends without an opinion of its own."""


def _own_umask() -> bool:
    """Give this thread a umask of 0 without touching the process's; False where that is forbidden."""
    try:
        syscalls.unshare(_CLONE_FS)
    except OSError:
        return False
    os.umask(0)
    return True
