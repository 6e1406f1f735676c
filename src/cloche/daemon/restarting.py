"""Containers that are to run are started again: what clients asked for with labels, as nerdctl does.

containerd.io/restart.status             running or stopped: what is to hold
containerd.io/restart.policy             always (the default), unless-stopped, on-failure[:N], no
containerd.io/restart.count              how often it was started again
containerd.io/restart.loguri             where its output goes
containerd.io/restart.explicitly-stopped true once a client has stopped it
"""

from __future__ import annotations

import asyncio
import logging

from cloche.api.containers import options_of
from cloche.errors import ClocheError, NotFound
from cloche.spec.document import loads
from cloche.store import containers as store
from cloche.store import labels as label_column
from cloche.store import namespaces
from cloche.wire.messages import task as messages
from cloche.wire.messages.types import PAUSED, PAUSING, RUNNING, STOPPED, Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.engine.context import Context
    from cloche.engine.tasks.lifecycle import Tasks
    from cloche.store.containers import Container

_log = logging.getLogger("cloche.restart")

INTERVAL_S = 10.0
_PREFIX = "containerd.io/restart."
STATUS, POLICY, COUNT = _PREFIX + "status", _PREFIX + "policy", _PREFIX + "count"
LOG_URI, EXPLICITLY_STOPPED = _PREFIX + "loguri", _PREFIX + "explicitly-stopped"
_SIGKILL = 9


class Monitor:
    """One daemon's monitor. interval_s: how often it looks."""

    def __init__(self, context: Context, tasks: Tasks, *, interval_s: float = INTERVAL_S) -> None:
        self._context = context
        self._tasks = tasks
        self._interval_s = interval_s
        self._running: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Look from now on."""
        self._running = asyncio.ensure_future(self._run())

    def close(self) -> None:
        """Look no more."""
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.look()
            except (ClocheError, OSError) as error:
                _log.warning("cannot look after containers: %s", error)

    async def look(self) -> None:
        """Bring every container with these labels into the state that they name."""
        with self._context.metadata.read() as tx:
            rows = [
                row
                for namespace in namespaces.list(tx)
                for row in store.list(tx, namespace)
                if STATUS in row.labels
            ]
        for row in rows:
            try:
                await self._settle(row)
            except (ClocheError, OSError) as error:
                _log.warning("container %s/%s: %s", row.namespace, row.id, error)

    async def _settle(self, row: Container) -> None:
        status, code = await self._state(row)
        wanted = row.labels[STATUS]
        if wanted == "stopped" and status not in (0, STOPPED):
            await self._end(row, status)
        elif wanted == "running" and status not in (RUNNING, PAUSED, PAUSING) and due(row.labels, code):
            await self._end(row, status)
            await self._start(row)

    async def _state(self, row: Container) -> tuple[int, int]:
        """Its status (0 without a task) and its exit code."""
        try:
            shim = await self._tasks.get(row.namespace, row.id)
            state = await shim.state()
        except NotFound:
            return 0, 0
        return state.status, state.exit_status

    async def _end(self, row: Container, status: int) -> None:
        if not status:
            return
        shim = await self._tasks.get(row.namespace, row.id)
        if status != STOPPED:
            await shim.call("Kill", messages.KillRequest(id=row.id, signal=_SIGKILL, all=True))
            await self._tasks.wait(row.namespace, row.id)
        await self._tasks.delete(row.namespace, row.id)

    async def _start(self, row: Container) -> None:
        context = self._context.beside(row.namespace)
        mounts: list[Mount] = []
        if row.snapshot_key:
            with context.metadata.read() as tx:
                found = context.snapshotter(row.snapshotter).mounts(tx, row.snapshot_key)
            mounts = [Mount(type=m.type, source=m.source, options=list(m.options)) for m in found]
        terminal = bool((loads(row.spec, "config.json").get("process") or {}).get("terminal"))
        uri = row.labels.get(LOG_URI, "")
        request = messages.CreateTaskRequest(
            id=row.id, rootfs=mounts, terminal=terminal, stdout=uri, stderr="" if terminal else uri
        )
        self._count(context, row)
        await self._tasks.create(
            row.namespace, request, runtime=row.runtime, spec=row.spec, options=options_of(row)
        )
        shim = await self._tasks.get(row.namespace, row.id)
        await shim.call("Start", messages.StartRequest(id=row.id))
        _log.info("container %s/%s: started again", row.namespace, row.id)

    @staticmethod
    def _count(context: Context, row: Container) -> None:
        count = str(_number(row.labels.get(COUNT, "")) + 1)
        with context.metadata.write() as tx:
            current = store.get(tx, row.namespace, row.id)
            if current is not None:
                labels = label_column.merged(current.labels, {COUNT: count})
                store.update(tx, current.replace(labels=labels))


def due(labels: Mapping[str, str], exit_code: int) -> bool:
    """Whether a container that does not run is to be started, by its policy."""
    policy, _, most = labels.get(POLICY, "").partition(":")
    if policy in ("", "always"):
        return True
    if policy == "unless-stopped":
        return labels.get(EXPLICITLY_STOPPED) != "true"
    if policy == "on-failure":
        return exit_code != 0 and (not most or _number(labels.get(COUNT, "")) < _number(most))
    return False


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
