"""The room that images and containers take, measured now and then, since it means walking trees."""

from __future__ import annotations

import asyncio
import os
import time

from cloche.spec.record import Record
from cloche.store import clock
from cloche.store.snapshots.disk_usage import disk_usage
from cloche.store.snapshots.rows import ACTIVE, COMMITTED
from cloche.wire.messages.cri.values import FilesystemIdentifier, FilesystemUsage, UInt64Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.cri.host import Host


class Usage(Record):
    """What one writable layer takes, and when that was so (ns since 1970)."""

    size: int
    inodes: int
    at: int


class Measured(Record):
    """What all layers take. layers: the writable ones, by their containers' ids."""

    size: int = 0
    inodes: int = 0
    at: int = 0
    layers: Mapping[str, Usage] = {}


class ImageSpace:
    """Measures, at most once in the configured period; who asks meanwhile gets the last result."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._last = Measured()
        self._next_s = 0.0
        self._committed: dict[int, Usage] = {}
        self._running: asyncio.Task[Measured] | None = None

    @property
    def mountpoint(self) -> str:
        """Where the layers are."""
        return self._host.context.snapshotter(self._host.settings.snapshotter).root

    async def measured(self) -> Measured:
        """What layers take, at most the configured period old."""
        if self._last.at and time.monotonic() < self._next_s:
            return self._last
        if self._running is None:
            self._running = asyncio.ensure_future(self._measure())
        return await asyncio.shield(self._running)

    def last(self) -> Measured:
        """What they took when it was last measured. May be called from any thread."""
        return self._last

    async def _measure(self) -> Measured:
        try:
            self._last = await self._host.run(self._walk, lane="image space")
            self._next_s = time.monotonic() + self._host.settings.stats_period_s
        finally:
            self._running = None
        return self._last

    def _walk(self) -> Measured:
        context = self._host.context
        # A kubelet asks which disk it is on before there is a first image.
        os.makedirs(self.mountpoint, mode=0o700, exist_ok=True)
        with context.metadata.read() as tx:
            rows = tx.execute("SELECT key, id, kind, namespace, size, inodes, snapshotter FROM snapshots")
        size = inodes = 0
        layers = {}
        for key, number, kind, namespace, known_size, known_inodes, snapshotter in rows:
            if known_size is not None and known_inodes is not None:
                used = Usage(known_size, known_inodes, clock.now())
            else:
                path = f"{context.snapshotter(snapshotter).root}/snapshots/{number}"
                used = self._of_one(number, path, is_committed=kind == COMMITTED)
            size, inodes = size + used.size, inodes + used.inodes
            if kind == ACTIVE and namespace == context.namespace:
                layers[str(key)] = used
        return Measured(size, inodes, clock.now(), layers)

    def _of_one(self, number: int, path: str, *, is_committed: bool) -> Usage:
        """What one layer takes. One that is committed never changes: it is walked once at most."""
        if is_committed and number in self._committed:
            return self._committed[number]
        try:
            walked = disk_usage(f"{path}/fs" if os.path.isdir(f"{path}/fs") else path)
        except FileNotFoundError:
            return Usage(0, 0, clock.now())  # it has just been removed, or shows its parents alone
        used = Usage(walked.size, walked.inodes, clock.now())
        if is_committed:
            self._committed[number] = used
        return used

    def message(self, used: Measured | Usage) -> FilesystemUsage:
        """As clients get it."""
        return FilesystemUsage(
            timestamp=used.at,
            fs_id=FilesystemIdentifier(mountpoint=self.mountpoint),
            used_bytes=UInt64Value(value=used.size),
            inodes_used=UInt64Value(value=used.inodes),
        )
