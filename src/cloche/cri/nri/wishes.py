"""What plugins want of containers that are there: new limits, and their end. Nothing waits for it long."""

from __future__ import annotations

import asyncio
import logging

from cloche.cri.nri import limits
from cloche.errors import ClocheError, Unimplemented

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Any

    from cloche.cri.inventory import Container, Inventory
    from cloche.cri.updating import Updating
    from cloche.wire.messages.nri.adjustments import ContainerEviction, ContainerUpdate
    from cloche.wire.messages.nri.resources import LinuxResources

_log = logging.getLogger("cloche.nri")


class Wishes:
    """Carries them out. stop: ends a container. patience_s: how long one may hold up who asked for it."""

    def __init__(
        self,
        inventory: Inventory,
        updating: Updating,
        stop: Callable[[Container, int], Awaitable[None]],
        patience_s: float,
    ) -> None:
        self._inventory = inventory
        self._updating = updating
        self._stop = stop
        self._patience_s = patience_s
        self._stopping: set[asyncio.Future[None]] = set()

    async def carry_out(
        self, updates: Sequence[ContainerUpdate], evictions: Sequence[ContainerEviction]
    ) -> list[ContainerUpdate]:
        """Stop those that are to be evicted, then change limits; the updates that failed and must not.

        Containers that are gone do not matter.
        """
        for eviction in evictions:
            await self._evict(eviction)
        failed = []
        for update in updates:
            try:
                await self._update(update)
            except (ClocheError, OSError, TimeoutError) as error:
                why = str(error) or "somebody else is changing it"
                _log.warning("container %s: NRI's update of it failed: %s", update.container_id, why)
                if not update.ignore_failure:
                    failed.append(update)
        return failed

    async def _evict(self, eviction: ContainerEviction) -> None:
        container = self._inventory.containers.get(eviction.container_id)
        if container is None:
            return
        _log.info("container %s: evicted by NRI: %s", container.id, eviction.reason or "no reason is given")
        # On its own: the container may be one that whoever waits for us holds.
        stopping = asyncio.ensure_future(self._stop(container, 0))
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopped)
        await asyncio.wait({stopping}, timeout=self._patience_s)

    def _stopped(self, stopping: asyncio.Future[None]) -> None:
        self._stopping.discard(stopping)
        if not stopping.cancelled() and (error := stopping.exception()) is not None:
            _log.warning("a container that NRI evicts did not stop: %s", error)

    async def _update(self, update: ContainerUpdate) -> None:
        container = self._inventory.containers.get(update.container_id)
        wanted = update.linux.resources if update.linux is not None else None
        if container is None or wanted is None:
            return
        more = beyond_cri(wanted)
        async with asyncio.timeout(self._patience_s):
            await container.changing.acquire()
        try:
            await self._updating.change(container, limits.to_cri(wanted), more=more)
        finally:
            container.changing.release()


def beyond_cri(wanted: LinuxResources) -> dict[str, Any]:
    """Limits as config.json has them, for what CRI has no words for; 0 stays what it was.

    Raises Unimplemented for what cannot be changed of a container that is there.
    """
    if wanted.rdt_class is not None and wanted.rdt_class.value:
        raise Unimplemented("rdt_class: cannot be changed once a container is made")
    found = limits.to_config(wanted)
    for name in ("memory", "cpu"):
        found[name] = {key: value for key, value in found.get(name, {}).items() if value}
    return {name: value for name, value in found.items() if value}
