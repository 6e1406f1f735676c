"""Containers: made, started, watched, stopped and removed.

    create   row and snapshot · user looked up · config.json · row           (no process yet)
    start    task in the pod's shim · start · row · watched
    end      exit code and its reason into the row · task deleted
    update   limits into config.json, and where it runs into its cgroup
    remove   task · image volumes · row and snapshot · files

What crashed on its way is found by its row, which says that it was not made, and is removed.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack

from cloche.cri import signals
from cloche.cri.inventory import Container
from cloche.cri.tasks import UNKNOWN_EXIT
from cloche.engine.signals import number_of
from cloche.errors import AlreadyExists, ClocheError, FailedPrecondition, InvalidArgument
from cloche.kernel.cgroups.metrics import oom_kills
from cloche.store import clock, faults
from cloche.wire.messages.cri.containers import CREATED, EXITED, RUNNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.cri.container_making import Making
    from cloche.cri.events import Events
    from cloche.cri.handlers import Handlers
    from cloche.cri.host import Host
    from cloche.cri.inventory import Inventory, Pod
    from cloche.cri.joining import Joining, Work
    from cloche.cri.measuring import Measuring
    from cloche.cri.nri.service import Nri
    from cloche.cri.settings import Handler
    from cloche.cri.tasks import Ended, Tasks
    from cloche.cri.updating import Updating
    from cloche.wire.messages.cri.containers import ContainerConfig
    from cloche.wire.messages.cri.resources import LinuxContainerResources

_log = logging.getLogger("cloche.cri")

_SIGKILL = 9
START_FAILED = 128
COMPLETED, FAILED, OUT_OF_MEMORY = "Completed", "Error", "OOMKilled"
NOT_STARTED, UNKNOWN = "StartError", "Unknown"


class Containers:
    """See the module."""

    def __init__(
        self,
        host: Host,
        inventory: Inventory,
        *,
        handlers: Handlers,
        tasks: Tasks,
        making: Making,
        measures: Measuring,
        events: Events,
        joining: Joining,
        nri: Nri,
        updating: Updating,
    ) -> None:
        self._host = host
        self._inventory = inventory
        self._handlers = handlers
        self._tasks = tasks
        self._making = making
        self._measuring = measures
        self._events = events
        self._joining = joining
        self._nri = nri
        self._updating = updating

    async def create(self, pod: Pod, config: ContainerConfig | None) -> str:
        """Make a container in a pod, or find that it was made; its id.

        Raises FailedPrecondition where the pod does not run, AlreadyExists for another container of the same
        name and attempt, InvalidArgument.
        """
        if config is None or config.metadata is None or not config.metadata.name:
            raise InvalidArgument("config.metadata: a container needs a name")
        if not pod.is_ready:
            raise FailedPrecondition(f"sandbox {pod.id}: is not running: containers cannot be made in it")
        metadata = config.metadata
        for other in pod.containers.values():
            if other.metadata == metadata:
                if other.config == config and other.state == CREATED:
                    return other.id
                raise AlreadyExists(
                    f"container {metadata.name} (attempt {metadata.attempt}) is in pod {pod.id} already, as "
                    f"{other.id}: remove it, or ask for another attempt"
                )
        key = ("container", pod.id, metadata.name, metadata.attempt)
        what = f"container {metadata.name} of pod {pod.id[:12]}"
        return await self._joining.run(key, what, lambda work: self._create(pod, config))

    async def _create(self, pod: Pod, config: ContainerConfig) -> str:
        handler = self._handlers.get(pod.kept.handler)
        await self._making.check(config, handler)
        if self._nri.is_asked:
            container = await self._make_adjusted(pod, config, handler)
        else:
            with self._nri.births.one():
                container = await self._making.make(pod, config, handler)
                self._inventory.add(container)
        self._events.created(container)
        await self._nri.tell("PostCreateContainer", pod, container)
        return container.id

    async def _make_adjusted(self, pod: Pod, config: ContainerConfig, handler: Handler) -> Container:
        """Make a container as NRI's plugins want it."""
        container, spec = await self._making.prepare(pod, config, handler)
        try:
            with ExitStack() as birth:
                adjusted, limits = await self._nri.create(pod, container, spec, birth)
                container.kept.resources = self._updating.known(container.kept.resources, limits)
                await self._making.keep(container, adjusted)
                self._inventory.add(container)
        except BaseException:
            await self._making.discard(container)
            await self._nri.undo_create(pod, container, spec)
            raise
        return container

    async def start(self, container: Container) -> None:
        """Start a container. Raises FailedPrecondition unless it was made and never started."""
        what = f"starting container {container.id[:12]}"
        await self._joining.run(("start", container.id), what, lambda work: self._start_once(container, work))

    async def _start_once(self, container: Container, work: Work) -> str:
        """To its end, whether or not somebody waits for it: what runs is watched."""
        async with container.changing:
            work.enter("making its processes")
            if container.state != CREATED:
                name = "running" if container.state == RUNNING else "exited"
                raise FailedPrecondition(f"container {container.id}: is in {name} state: cannot be started")
            pod = self._inventory.pod(container.kept.pod)
            if not pod.is_ready:
                raise FailedPrecondition(f"sandbox {pod.id}: is not running: containers cannot start in it")
            try:
                await self._start(container, pod)
            except (ClocheError, OSError) as error:
                await self._failed(container, str(error))
                raise
            await self._inventory.save_container(container, durable=False)
        self.watch(container)
        self._events.started_container(container)
        await self._nri.tell("PostStartContainer", pod, container)
        return container.id

    async def _start(self, container: Container, pod: Pod) -> None:
        handler = self._handlers.get(pod.kept.handler)
        spec, rootfs = await self._host.run(self._making.what_to_start, container, pod, lane=container.id)
        config = container.config
        output = signals.log_uri(container.kept.log_path)
        container.kept.pid = await self._tasks.create(
            container.id,
            handler,
            spec,
            rootfs,
            stdin="attach://" if config.stdin else "",
            stdout=output,
            stderr=output,
            terminal=config.tty,
            pod=pod.id,
            checkpoint=self._making.checkpoint(container),
        )
        faults.point("cri.container-created")
        begun = clock.now()
        try:
            await self._nri.tell("StartContainer", pod, container)
            await self._tasks.start(container.id)
        except BaseException:
            await asyncio.shield(self._tasks.destroy(container.id))
            raise
        faults.point("cri.container-started")
        container.kept.started_at = begun

    async def _failed(self, container: Container, why: str) -> None:
        """A container that could not be started has ended."""
        kept = container.kept
        kept.started_at = kept.finished_at = clock.now()
        kept.exit_code, kept.reason, kept.explanation = START_FAILED, NOT_STARTED, why
        await self._inventory.save_container(container)
        self._events.stopped_container(container)
        await self._tell("StopContainer", container)

    def watch(self, container: Container) -> None:
        """Notice its end."""
        if container.watcher is None:
            container.watcher = asyncio.ensure_future(self._watch(container))

    async def _watch(self, container: Container) -> None:
        ended = await self._tasks.wait(container.id)
        oom = ended is not None and ended.code != 0 and self._was_out_of_memory(container)
        try:
            await self._ended(container, ended, out_of_memory=oom)
        except (ClocheError, OSError) as error:
            _log.warning("container %s: its end: %s", container.id, error)

    def _was_out_of_memory(self, container: Container) -> bool:
        """Whether the kernel killed something of it for want of memory; its cgroup goes with the task."""
        pod = self._inventory.pods.get(container.kept.pod)
        if pod is None:
            return False
        try:
            return oom_kills(self._measuring.paths(pod, container.id, container.kept.pid)) > 0
        except OSError:
            return False

    async def _ended(self, container: Container, ended: Ended | None, *, out_of_memory: bool) -> None:
        """On record first: then the task may go, which alone knew."""
        kept = container.kept
        if not kept.finished_at:
            if ended is None:
                kept.exit_code, kept.reason, kept.finished_at = UNKNOWN_EXIT, UNKNOWN, clock.now()
            else:
                kept.exit_code, kept.finished_at = ended.code, ended.at or clock.now()
                kept.reason = COMPLETED if ended.code == 0 else OUT_OF_MEMORY if out_of_memory else FAILED
            kept.pid = 0
            await self._inventory.save_container(container)
            faults.point("cri.container-ended")
        await self._tasks.delete(container.id)
        self._events.stopped_container(container)
        await self._tell("StopContainer", container)

    async def _tell(self, call: str, container: Container) -> None:
        await self._nri.tell(call, self._inventory.pods.get(container.kept.pod), container)

    async def update(
        self, container: Container, asked: LinuxContainerResources, annotations: Mapping[str, str]
    ) -> None:
        """Change limits: what is 0 or empty stays as it is. Raises FailedPrecondition if it has exited."""
        pod = self._inventory.pods.get(container.kept.pod)
        wanted, more = await self._nri.update(pod, container, asked)
        async with container.changing:
            await self._updating.change(container, wanted, more=more, annotations=annotations)
        await self._tell("PostUpdateContainer", container)

    async def stop(self, container: Container, timeout_s: int) -> None:
        """Stop a container: its signal, and SIGKILL when the time is over. Can be repeated."""
        await self.halt(container, timeout_s)
        await self._tell("StopContainer", container)

    async def halt(self, container: Container, timeout_s: int) -> None:
        """The same with its pod: of one that was never started NRI's plugins are told when it is removed."""
        if container.state == CREATED and container.changing.locked():
            async with container.changing:
                pass  # it is being started: what came of it is known then
        watcher = container.watcher
        if container.state != RUNNING or watcher is None:
            return
        if timeout_s > 0:
            await self._tasks.kill(container.id, number_of(container.kept.stop_signal or "SIGTERM"))
            await asyncio.wait({watcher}, timeout=timeout_s)
        if container.state == RUNNING:
            await self._tasks.kill(container.id, _SIGKILL, everyone=True)
        await asyncio.shield(watcher)

    async def remove(self, container: Container) -> None:
        """Remove a container, running or not. Can be repeated."""
        await self.stop(container, 0)
        async with container.changing:
            if container.watcher is not None:
                await asyncio.shield(container.watcher)
            await self._tell("RemoveContainer", container)
            await self._host.run(self._making.remove, container, lane=container.id)
            if container.id in self._inventory.containers:
                self._inventory.discard(container)
                self._measuring.forget(container.id)
                self._events.removed_container(container)

    async def recover(self) -> None:
        """After a start of the daemon: go on watching what runs, and remove what was never made."""
        for container in list(self._inventory.containers.values()):
            try:
                await self._recover(container)
            except (ClocheError, OSError) as error:
                _log.warning("container %s: cannot be recovered: %s", container.id, error)

    async def _recover(self, container: Container) -> None:
        if not container.kept.made or container.kept.pod not in self._inventory.pods:
            _log.info("container %s: was never made, or its pod is gone: removed", container.id)
            await self._tasks.destroy(container.id)
            await self._host.run(self._making.remove, container, lane=container.id)
            self._inventory.discard(container)
        elif container.state == EXITED:
            await self._tasks.delete(container.id)
        elif container.state == RUNNING:
            self.watch(container)
        else:
            # Made, or even started, by a start that never came to its end: it begins anew.
            await self._tasks.destroy(container.id)
