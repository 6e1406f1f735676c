"""When the daemon collects garbage: soon after something was removed, at its start, and once an hour.

What removed names stood for goes at once; all else that nothing refers to stays for its day of
grace (store.collect). Removals that come close together are collected together, and however many
come, a small part of the time goes into it.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

from cloche.daemon.histogram import Histogram
from cloche.engine.activations import Activations
from cloche.engine.collection import collect as collect_orphans
from cloche.engine.image_removal import collect_released
from cloche.errors import ClocheError
from cloche.spec.record import Record
from cloche.store import leases
from cloche.store.collect import released_now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.daemon.lanes import Lanes
    from cloche.engine.context import Context

_log = logging.getLogger("cloche.gc")

DELAY_S = 0.1
LONGEST_REST_S = 30.0
_LARGEST_SHARE = 0.5
INTERVAL_S = 3600.0


class CollectingSettings(Record):
    """startup_delay_s: before the first collection. delay_s: from the reason for one until it begins.

    share: how much of all time collections may take at most; there is a rest after each one.
    """

    startup_delay_s: float = DELAY_S
    delay_s: float = 0.0
    share: float = 0.02

    def rest_s(self, took_s: float) -> float:
        """How long there is none after one that took so long. A share of 0 asks for no rest, as there."""
        if self.share <= 0:
            return 0.0
        return min(took_s * (1 / min(self.share, _LARGEST_SHARE) - 1), LONGEST_REST_S)


class Collector:
    """One daemon's collector. `begin` starts it; `request` may be called from any thread.

    took: how long collections took. failures: of these, how many failed.
    """

    def __init__(self, context: Context, lanes: Lanes, settings: CollectingSettings | None = None) -> None:
        self._settings = settings or CollectingSettings()
        self._context = context
        self._lanes = lanes
        self._loop = asyncio.get_running_loop()
        self._released: dict[str, int] = {}
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.took = Histogram()
        self.failures = 0

    def begin(self) -> None:
        """Collect now, and from then on when there is reason to."""
        self._wanted.set()
        self._task = self._loop.create_task(self._run())

    def request(self, digests: tuple[str, ...]) -> None:
        """Something was removed; digests: what removed names stood for."""
        self._loop.call_soon_threadsafe(self._note, released_now(*digests))

    def _note(self, released: dict[str, int]) -> None:
        self._released.update(released)
        self._wanted.set()

    async def _run(self) -> None:
        rested = monotonic() + self._settings.startup_delay_s
        while True:
            try:
                await asyncio.wait_for(self._wanted.wait(), INTERVAL_S)
            except TimeoutError:
                pass
            await asyncio.sleep(max(DELAY_S, self._settings.delay_s, rested - monotonic()))
            self._wanted.clear()
            begun = monotonic()
            try:
                await self._lanes.run_in("general", "gc", self._collect)
            except (ClocheError, OSError) as error:
                self.failures += 1
                _log.warning("cannot collect garbage: %s", error)
            ended = monotonic()
            self.took.add(ended - begun)
            rested = ended + self._settings.rest_s(ended - begun)

    def _collect(self) -> None:
        released, self._released = self._released, {}
        collect_orphans(self._context)
        gone = collect_released(self._context, released)
        self._end_mounts()
        if gone.content or gone.snapshots or gone.leases:
            _log.info(
                "collected %d blobs (%d bytes), %d snapshots, %d leases",
                *(len(gone.content), gone.freed_bytes, len(gone.snapshots), len(gone.leases)),
            )

    def _end_mounts(self) -> None:
        """Unmount what was activated under a lease that is over."""
        for found in Activations(self._context.state).list():
            if not found.lease:
                continue
            with self._context.metadata.read() as tx:
                over = leases.get(tx, found.namespace, found.lease) is None
            if over:
                Activations(self._context.state).deactivate(found.namespace, found.name)

    async def close(self) -> None:
        """Begin no more collections."""
        if self._task is not None:
            self._task.cancel()
