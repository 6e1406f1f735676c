"""What happens to pods and containers, relayed to the plugins one after the other, in the order of indices.

One event at a time: the next is told when all plugins have answered, or were dropped. What they want of
other containers is done after that, and nobody waits for it longer than for a plugin.
"""

from __future__ import annotations

import asyncio
import logging

from cloche.cri.nri import describing
from cloche.cri.nri.adjusting import adjust
from cloche.cri.nri.combining import Adjustments, Updates
from cloche.cri.nri.limits import from_cri
from cloche.cri.nri.owners import Owners
from cloche.errors import ClocheError, PermissionDenied, Unavailable
from cloche.spec.document import dumps, loads
from cloche.spec.validate import validate
from cloche.wire.messages.cri.containers import EXITED
from cloche.wire.messages.nri import plugin as messages
from cloche.wire.messages.nri.resources import LinuxResources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack
    from typing import Any

    from cloche.cri.host import Host
    from cloche.cri.inventory import Container, Inventory, Pod
    from cloche.cri.nri.births import Births
    from cloche.cri.nri.plugin import Plugin, RemotePlugin
    from cloche.cri.nri.wishes import Wishes
    from cloche.wire.messages.cri.resources import LinuxContainerResources

_log = logging.getLogger("cloche.nri")

MUST = frozenset({"RunPodSandbox", "StartContainer", "UpdatePodSandbox"})
"""Calls whose errors are those of the request. Of others the log tells, and the request goes on."""

_STOPS, _REMOVES = ("StopPodSandbox", "StopContainer"), ("RemovePodSandbox", "RemoveContainer")
_CREATE, _UPDATE, _VALIDATE = "CreateContainer", "UpdateContainer", "ValidateContainerAdjustment"


class Relay:
    """See the module. births: containers that are being made. wishes: carries out what plugins want."""

    def __init__(self, host: Host, inventory: Inventory, births: Births, wishes: Wishes) -> None:
        self._host = host
        self._inventory = inventory
        self._births = births
        self._wishes = wishes
        self._rows = describing.Rows(host)
        self._lock = asyncio.Lock()
        self._plugins: list[Plugin] = []
        # Whose end has been told, or is known from before: it is noticed in more than one place.
        self._stopped: set[str] = set()
        self._run: set[str] = set()

    def __bool__(self) -> bool:
        """Whether anybody is to be asked; one that comes just now counts."""
        return bool(self._plugins) or self._lock.locked()

    def add(self, plugin: Plugin) -> None:
        """One more is to be asked; those of the same index stay in the order in which they came."""
        self._plugins.append(plugin)
        self._plugins.sort(key=lambda each: each.index)

    def discard(self, plugin: Plugin) -> None:
        """One is not asked any more."""
        if plugin in self._plugins:
            self._plugins.remove(plugin)

    async def join(self, plugin: RemotePlugin) -> None:
        """Tell a plugin what there is, and ask it from then on."""
        async with self._lock:
            await self._births.settle()
            self._stopped |= {pod.id for pod in self._inventory.pods.values() if pod.kept.stopped}
            self._stopped |= {each.id for each in self._inventory.containers.values() if each.state == EXITED}
            pods, containers = await self._all()
            updates = await plugin.synchronize(pods, containers)
            if plugin.alive:
                self.add(plugin)
                _log.info("NRI plugin %s is there", plugin.name)
        await self._wishes.carry_out(updates, ())

    async def _all(self) -> tuple[list[Any], list[Any]]:
        pods = list(self._inventory.pods.values())
        containers = [each for each in self._inventory.containers.values() if each.state != EXITED]
        ids = [*(pod.id for pod in pods), *(each.id for each in containers)]
        specs = await self._host.run(self._rows.specs, *ids)
        told = specs[len(pods) :]
        return (
            [describing.pod_of(pod, spec) for pod, spec in zip(pods, specs, strict=False)],
            [describing.container_of(each, spec) for each, spec in zip(containers, told, strict=True)],
        )

    async def tell(self, call: str, pod: Pod, container: Container | None = None, spec: Any = None) -> None:
        """Tell the plugins of something. spec: of a container that has no row yet.

        Raises StatusError for a plugin's error, where the call is one of MUST.
        """
        wanted = Updates(Owners())
        async with self._lock:
            subject = pod.id if container is None else container.id
            if not self._is_due(call, subject) or not self._who_hears(call):
                return
            request = await self._request(pod, container, spec)
            error = await self._ask_all(call, request, wanted)
        await self._wishes.carry_out(wanted.combined(), ())
        if error is not None and call in MUST:
            raise error
        if error is not None:
            _log.warning("%s", error)

    def has_run(self, pod: Pod) -> bool:
        """Whether plugins have been told that a pod runs, and not that it is gone."""
        return pod.id in self._run

    def _is_due(self, call: str, subject: str) -> bool:
        if call == "RunPodSandbox":
            self._run.add(subject)
        if call in _REMOVES:
            self._stopped.discard(subject)
            self._run.discard(subject)
        if call not in _STOPS:
            return True
        due = subject not in self._stopped
        self._stopped.add(subject)
        return due

    def _who_hears(self, call: str) -> list[Plugin]:
        return [each for each in self._plugins if each.hears(call)]

    async def _request(self, pod: Pod, container: Container | None, spec: Any) -> Any:
        ids = [pod.id] if container is None or spec is not None else [pod.id, container.id]
        holder, *read = await self._host.run(self._rows.specs, *ids)
        told = describing.pod_of(pod, holder)
        if container is None:
            return messages.PodRequest(pod=told)
        described = describing.container_of(container, spec or read[0], made=spec is None)
        return messages.ContainerRequest(pod=told, container=described)

    async def _ask_all(self, call: str, request: Any, wanted: Updates) -> ClocheError | None:
        """Tell all of them; the first error."""
        first = None
        for plugin in self._who_hears(call):
            try:
                answer = await plugin.ask(call, request)
                if isinstance(answer, messages.StopContainerResponse):
                    wanted.add(answer.update, plugin.name)
            except ClocheError as error:
                first = first or error
        return first

    async def update_pod(
        self, pod: Pod, overhead: LinuxContainerResources | None, limits: LinuxContainerResources | None
    ) -> None:
        """Tell of a pod's new limits. Raises StatusError for a plugin's error."""
        async with self._lock:
            told = await self._request(pod, None, None)
            request = messages.UpdatePodSandboxRequest(
                pod=told.pod,
                overhead_linux_resources=from_cri(overhead),
                linux_resources=from_cri(limits),
            )
            error = await self._ask_all("UpdatePodSandbox", request, Updates(Owners()))
        if error is not None:
            raise error

    async def create(
        self, pod: Pod, container: Container, spec: Any, birth: ExitStack
    ) -> tuple[Any, LinuxResources | None]:
        """Ask what is to be changed of a container; its config.json then, and which limits that concerns.

        birth: closed when it is there. Raises StatusError for a plugin's error, InvalidArgument for what
        contradicts or cannot be.
        """
        adjustments = Adjustments(container.id)
        updates = Updates(adjustments.owners, made=container.id)
        evictions: list[Any] = []
        async with self._lock:
            (holder,) = await self._host.run(self._rows.specs, pod.id)
            told = describing.pod_of(pod, holder)
            changed = spec
            for plugin in self._who_hears(_CREATE):
                view = describing.container_of(container, changed, made=False)
                answer = await plugin.create(messages.ContainerRequest(pod=told, container=view), changed)
                if answer is None:
                    continue
                if answer.adjust is not None:
                    adjustments.add(answer.adjust, plugin.name)
                    changed = _adjusted(spec, adjustments.combined(), None)
                updates.add(answer.update, plugin.name)
                evictions += answer.evict
            combined = adjustments.combined()
            view = describing.container_of(container, spec, made=False)
            await self._validate(
                messages.ValidateContainerAdjustmentRequest(
                    pod=told,
                    container=view,
                    adjust=combined,
                    update=updates.combined(),
                    owners=adjustments.owners.told(),
                    plugins=[
                        messages.PluginInstance(name=each.base, index=each.index)
                        for each in self._plugins
                        if each.alive  # one that was just dropped has not adjusted it
                    ],
                )
            )
            if changed is not spec:
                directories = self._host.settings.cdi_directories
                changed = await self._host.run(_adjusted, spec, combined, directories)
            birth.enter_context(self._births.one())
        await self._wishes.carry_out(updates.combined(), evictions)
        return changed, combined.linux.resources if changed is not spec and combined.linux else None

    async def _validate(self, request: messages.ValidateContainerAdjustmentRequest) -> None:
        """Raises PermissionDenied where a validator rejects it, Unavailable where one cannot be asked."""
        for plugin in self._who_hears(_VALIDATE):
            answer = await plugin.ask(_VALIDATE, request)
            if answer is None:
                raise Unavailable(f"NRI validator {plugin.name} gave no answer")
            if answer.reject:
                reason = answer.reason or "it does not say why"
                raise PermissionDenied(f"NRI validator {plugin.name} rejects the container: {reason}")

    async def update(
        self, pod: Pod, container: Container, asked: LinuxContainerResources
    ) -> LinuxResources | None:
        """Ask about a container's new limits: what they are to be; None where nobody minds.

        Raises StatusError for a plugin's error, InvalidArgument for what contradicts.
        """
        limits = from_cri(asked) or LinuxResources()
        updates = Updates(Owners(), updated=(container.id, limits))
        evictions: list[Any] = []
        async with self._lock:
            if not self._who_hears(_UPDATE):
                return None
            told = await self._request(pod, container, None)
            for plugin in self._who_hears(_UPDATE):
                request = messages.UpdateContainerRequest(
                    pod=told.pod, container=told.container, linux_resources=updates.of_updated or limits
                )
                answer = await plugin.ask(_UPDATE, request)
                if answer is not None:
                    updates.add(answer.update, plugin.name)
                    evictions += answer.evict
        await self._wishes.carry_out(updates.combined(), evictions)
        return updates.of_updated

    async def close(self) -> None:
        """Tell all of them that we end."""
        plugins, self._plugins = self._plugins, []
        await asyncio.gather(*(each.close() for each in plugins))


def _adjusted(spec: Any, adjustment: Any, cdi_directories: Sequence[str] | None) -> Any:
    """A copy of a config.json with all that was asked for."""
    changed = loads(dumps(spec), "config.json")
    adjust(changed, adjustment, cdi_directories=cdi_directories)
    validate(changed, "config.json, as NRI plugins have it")
    return changed
