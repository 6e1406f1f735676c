"""Pods: made, watched, stopped and removed.

    run      row (intent) · files · holder up to its gate · namespace pinned · CNI ADD · start · row
    stop     containers · CNI DEL, namespace let go · holder · shared memory       (each can be repeated)
    remove   stop · containers · row · files

What crashed on its way is found by its row, which says that it was not made, and is removed.
"""

from __future__ import annotations

import asyncio
import logging

from cloche.cri import network_namespaces, pod_spec, records, selinux
from cloche.cri.inventory import Pod
from cloche.engine.names import new_id
from cloche.errors import AlreadyExists, ClocheError, FailedPrecondition, InvalidArgument, NotFound
from cloche.spec.document import dumps
from cloche.spec.mount import Mount
from cloche.store import clock, faults
from cloche.store import containers as container_store
from cloche.store import sandboxes as store
from cloche.wire.messages.cri.pod_config import PodSandboxConfig
from cloche.wire.messages.cri.values import NODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cri.containers import Containers
    from cloche.cri.events import Events
    from cloche.cri.handlers import Handlers
    from cloche.cri.host import Host
    from cloche.cri.inventory import Inventory
    from cloche.cri.joining import Joining, Work
    from cloche.cri.nri.service import Nri
    from cloche.cri.pod_files import PodFiles
    from cloche.cri.pod_network import PodNetwork
    from cloche.cri.pod_root import PodRoot
    from cloche.cri.pulling import Puller
    from cloche.cri.settings import Handler
    from cloche.cri.tasks import Tasks

_log = logging.getLogger("cloche.cri")

_CONNECTING = "connecting its networks"


class Pods:
    """See the module."""

    def __init__(
        self,
        host: Host,
        inventory: Inventory,
        *,
        handlers: Handlers,
        tasks: Tasks,
        files: PodFiles,
        root: PodRoot,
        network: PodNetwork,
        containers: Containers,
        events: Events,
        joining: Joining,
        puller: Puller,
        nri: Nri,
    ) -> None:
        self._host = host
        self._puller = puller
        self._inventory = inventory
        self._handlers = handlers
        self._tasks = tasks
        self._files = files
        self._root = root
        self._network = network
        self._containers = containers
        self._events = events
        self._joining = joining
        self._nri = nri

    async def run(self, config: PodSandboxConfig | None, handler_name: str) -> str:
        """Make and start a pod, or find that it was; its id.

        Raises AlreadyExists for another pod of the same name, uid and attempt; InvalidArgument.
        """
        handler = self._handlers.get(handler_name)
        if config is None or config.metadata is None or not config.metadata.name:
            raise InvalidArgument("config.metadata: a pod needs a name")
        await self._check(config, handler)
        metadata = config.metadata
        key = ("pod", metadata.namespace, metadata.name, metadata.uid, metadata.attempt)
        what = f"pod {metadata.namespace}/{metadata.name}"
        kept = records.KeptPod(config=config, handler=handler.name, asked_handler=handler_name)
        pod = Pod(new_id(), kept)
        known = self._known(config)
        if known is not None:
            return known.id
        return await self._joining.run(key, what, lambda work: self._make(pod, handler, work))

    async def _check(self, config: PodSandboxConfig, handler: Handler) -> None:
        pod = Pod("", records.KeptPod(config=config))
        users = pod.namespaces.userns_options
        if users is not None and users.mode not in (0, NODE):
            raise InvalidArgument("userns_options.mode: a pod has ids of its own (POD) or the host's (NODE)")
        own_users = pod_spec.user_namespace(pod)
        if own_users is None:
            return
        if not (await self._handlers.features(handler)).user_namespaces:
            raise InvalidArgument(f"runtime handler {handler.name!r} does not support user namespaces")
        if not own_users.uids or not own_users.gids:
            raise InvalidArgument("userns_options: a user namespace needs uids and gids")

    def _known(self, config: PodSandboxConfig) -> Pod | None:
        """A pod that was made of the same config."""
        for pod in self._inventory.pods.values():
            if pod.metadata == config.metadata and pod.kept.made:
                if pod.config == config and pod.is_ready:
                    return pod
                raise AlreadyExists(
                    f"pod {pod.metadata.namespace}/{pod.metadata.name} (attempt {pod.metadata.attempt}) "
                    f"is there already, as {pod.id}: remove it, or ask for another attempt"
                )
        return None

    async def _make(self, pod: Pod, handler: Handler, work: Work) -> str:
        pod.kept.created_at = clock.now()
        if self._host.settings.selinux and selinux.is_enabled():
            pod.kept.categories = selinux.new_categories(self._host.settings.selinux_categories)
        words = await self._pause(pod, work)
        if pod.namespaces.network != NODE and self._is_made_before(pod, handler):
            pod.kept.netns = self._files.netns(pod.id)
        spec = pod_spec.build(pod, handler, self._host.settings, words)
        work.enter("preparing its files")
        rootfs = await self._host.run(self._begin, pod, spec, handler, lane=pod.id)
        try:
            faults.point("cri.pod-begun")
            work.enter("making its namespaces")
            pid = await self._tasks.create(pod.id, handler, dumps(spec), rootfs)
            faults.point("cri.pod-created")
            pod.kept.pid = pid
            if pod.namespaces.network != NODE:
                if not pod.kept.netns:
                    pod.kept.netns = self._files.netns(pod.id)
                    await self._host.run(network_namespaces.pin, pod.kept.netns, pid, lane=pod.id)
                faults.point("cri.pod-pinned")
                work.enter(_CONNECTING)
                pod.kept.ips = await self._network.connect(pod)
                faults.point("cri.pod-connected")
            work.enter("starting it")
            await self._tasks.start(pod.id)
            await self._nri.tell("RunPodSandbox", pod)
            pod.kept.made = True
            self._inventory.pods[pod.id] = pod
            # A power cut ends pods anyway; the death of a process loses nothing of this.
            await self._inventory.save_pod(pod, durable=False)
        except BaseException:
            self._inventory.pods.pop(pod.id, None)
            # A plugin that hangs is not waited for twice: a connect that fails has tried to undo itself.
            await self._undo(pod, connected=work.stage != _CONNECTING)
            raise
        self.watch(pod)
        self._events.started(pod)
        return pod.id

    def _is_made_before(self, pod: Pod, handler: Handler) -> bool:
        """Whether its network namespace has to be there for the runtime."""
        return pod_spec.user_namespace(pod) is None and not self._handlers.is_builtin(handler)

    async def _pause(self, pod: Pod, work: Work) -> list[str]:
        """What the holder executes; the configured pause image is fetched where it is not here yet."""
        try:
            words: list[str] = await self._host.run(self._root.words, pod)
        except NotFound:
            work.enter("pulling the pause image")
            await self._puller.pull(self._host.settings.pause_image, None)
            words = await self._host.run(self._root.words, pod)
        return words

    def _begin(self, pod: Pod, spec: object, handler: Handler) -> tuple[Mount, ...]:
        """Note the intent, and make what lies on disk; what the holder's root directory is."""
        context = self._host.context
        with context.metadata.write() as tx:
            store.create(tx, records.pod_row(pod.id, pod.kept, handler.name))
            row = records.holder_row(pod.id, pod.config, spec=dumps(spec), runtime=handler.runtime)
            container_store.create(tx, row)
        try:
            if pod.kept.netns:
                network_namespaces.make(pod.kept.netns)
            self._files.make(pod, shares_memory=pod.namespaces.ipc == NODE)
            return self._root.make(pod)
        except BaseException:
            self._forget(pod)
            raise

    async def _undo(self, pod: Pod, *, connected: bool) -> None:
        """Nothing is to be left of a pod that was not made, whatever happens on the way."""
        await self._nri.undo(pod)
        if connected:
            try:
                await self._network.disconnect(pod.id)
            except (ClocheError, OSError) as error:
                _log.warning("pod %s: its networks cannot be undone yet: %s", pod.id, error)
        await self._tasks.destroy(pod.id)
        await self._host.run(self._forget, pod, lane=pod.id)

    def _forget(self, pod: Pod) -> None:
        context = self._host.context
        self._files.remove(pod.id)
        with context.metadata.write() as tx:
            self._root.remove(tx, pod)
            if container_store.get(tx, context.namespace, pod.id) is not None:
                container_store.delete(tx, context.namespace, pod.id)
            if store.get(tx, context.namespace, pod.id) is not None:
                store.delete(tx, context.namespace, pod.id)
        self._root.purge(pod)

    def watch(self, pod: Pod) -> None:
        """Notice when the process that holds a pod ends."""
        if pod.watcher is None:
            pod.watcher = asyncio.ensure_future(self._watch(pod))

    async def _watch(self, pod: Pod) -> None:
        await self._tasks.wait(pod.id)
        if pod.changing.locked() or pod.kept.stopped:
            return
        async with pod.changing:
            _log.warning("pod %s: the process that holds its namespaces has ended", pod.id)
            await self._tasks.delete(pod.id)
            await self._stopped(pod)

    async def _stopped(self, pod: Pod) -> None:
        if not pod.kept.stopped:
            pod.kept.stopped = True
            pod.kept.pid = 0
            await self._inventory.save_pod(pod, durable=False)
            self._events.stopped(pod)

    async def stop(self, pod: Pod) -> None:
        """Stop a pod with all in it. Can be repeated."""
        async with pod.changing:
            await asyncio.gather(*(self._containers.halt(each, 0) for each in list(pod.containers.values())))
            await self._nri.tell("StopPodSandbox", pod)
            await self._network.disconnect(pod.id)
            faults.point("cri.pod-disconnected")
            if pod.kept.netns:
                await self._host.run(network_namespaces.unpin, pod.kept.netns, lane=pod.id)
            await self._tasks.destroy(pod.id)
            faults.point("cri.pod-ended")
            await self._host.run(self._files.unmount, pod.id, lane=pod.id)
            await self._stopped(pod)

    async def remove(self, pod: Pod) -> None:
        """Remove a pod with all in it. Can be repeated."""
        await self.stop(pod)
        async with pod.changing:
            for container in list(pod.containers.values()):
                await self._containers.remove(container)
            if pod.id in self._inventory.pods:
                await self._nri.tell("RemovePodSandbox", pod)
            await self._host.run(self._forget, pod, lane=pod.id)
            if self._inventory.pods.pop(pod.id, None) is not None:
                self._events.removed(pod)

    async def recover(self) -> None:
        """After a start of the daemon: go on watching what runs, and remove what was never made."""
        await asyncio.gather(*(self._recover(pod) for pod in list(self._inventory.pods.values())))

    async def _recover(self, pod: Pod) -> None:
        if pod.kept.made:
            if not pod.kept.stopped:
                self.watch(pod)
            return
        _log.info("pod %s: was never made: removed", pod.id)
        del self._inventory.pods[pod.id]
        try:
            await self._undo(pod, connected=True)
        except (ClocheError, OSError) as error:
            _log.warning("pod %s: cannot be recovered: %s", pod.id, error)

    def require_ready(self, pod: Pod) -> None:
        """Raises FailedPrecondition for a pod that does not run."""
        if not pod.is_ready:
            raise FailedPrecondition(f"sandbox {pod.id}: is not running: containers cannot start in it")
