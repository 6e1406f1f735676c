"""The part of RuntimeService that says what pods and containers use."""

from __future__ import annotations

from cloche.cri import measuring, pod_interfaces
from cloche.errors import FailedPrecondition
from cloche.store import clock
from cloche.wire.messages.cri import stats as messages
from cloche.wire.messages.cri.containers import RUNNING
from cloche.wire.services.cri import RUNTIME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from cloche.cri.host import Host
    from cloche.cri.image_space import ImageSpace
    from cloche.cri.inventory import Container, Inventory, Pod
    from cloche.cri.measuring import Measuring, Sample

_PORTION = 100


class StatsService:
    """The service."""

    SERVICE = RUNTIME

    def __init__(self, host: Host, inventory: Inventory, measures: Measuring, space: ImageSpace) -> None:
        self._host = host
        self._inventory = inventory
        self._measuring = measures
        self._space = space

    async def container_stats(
        self, _call: object, request: messages.ContainerStatsRequest
    ) -> messages.ContainerStatsResponse:
        """What one container uses."""
        container = self._inventory.container(request.container_id)
        await self._space.measured()
        (found,) = await self._host.run(self._of_containers, [container])
        return messages.ContainerStatsResponse(stats=found)

    async def list_container_stats(
        self, _call: object, request: messages.ListContainerStatsRequest
    ) -> messages.ListContainerStatsResponse:
        """What those use that run and that the filter chooses."""
        return messages.ListContainerStatsResponse(stats=await self._chosen_containers(request.filter))

    async def stream_container_stats(
        self, _call: object, request: messages.StreamContainerStatsRequest
    ) -> AsyncIterator[messages.StreamContainerStatsResponse]:
        """The same, in several answers."""
        found = await self._chosen_containers(request.filter)
        for begin in range(0, len(found), _PORTION):
            yield messages.StreamContainerStatsResponse(container_stats=found[begin : begin + _PORTION])

    async def _chosen_containers(
        self, chosen: messages.ContainerStatsFilter | None
    ) -> list[messages.ContainerStats]:
        chosen = chosen or messages.ContainerStatsFilter()
        wanted = [
            each
            for each in self._inventory.containers.values()
            if each.state == RUNNING
            and each.id.startswith(chosen.id)
            and each.kept.pod.startswith(chosen.pod_sandbox_id)
            and _has(each.config.labels, chosen.label_selector)
        ]
        await self._space.measured()
        found: list[messages.ContainerStats] = await self._host.run(self._of_containers, wanted)
        return found

    def _of_containers(self, containers: list[Container]) -> list[messages.ContainerStats]:
        return [self._of_container(each) for each in containers]

    def _of_container(self, container: Container) -> messages.ContainerStats:
        stats = messages.ContainerStats(attributes=container.told("stats", _attributes))
        layer = self._space.last().layers.get(container.id)
        if layer is not None:
            stats.writable_layer = self._space.message(layer)
        pod = self._inventory.pods.get(container.kept.pod)
        sample = self._measuring.container(pod, container) if pod is not None else None
        if sample is not None:
            stats.cpu, stats.memory = measuring.cpu(sample), measuring.memory(sample)
            stats.swap, stats.io = measuring.swap(sample), measuring.io(sample)
        return stats

    async def pod_sandbox_stats(
        self, _call: object, request: messages.PodSandboxStatsRequest
    ) -> messages.PodSandboxStatsResponse:
        """What one pod uses, and each of its containers."""
        pod = self._inventory.pod(request.pod_sandbox_id)
        if not pod.is_ready:
            raise FailedPrecondition(f"sandbox {pod.id}: is not running")
        await self._space.measured()
        (found,) = await self._host.run(self._of_pods, [pod])
        return messages.PodSandboxStatsResponse(stats=found)

    async def list_pod_sandbox_stats(
        self, _call: object, request: messages.ListPodSandboxStatsRequest
    ) -> messages.ListPodSandboxStatsResponse:
        """What those use that run and that the filter chooses."""
        return messages.ListPodSandboxStatsResponse(stats=await self._chosen_pods(request.filter))

    async def stream_pod_sandbox_stats(
        self, _call: object, request: messages.StreamPodSandboxStatsRequest
    ) -> AsyncIterator[messages.StreamPodSandboxStatsResponse]:
        """The same, in several answers."""
        found = await self._chosen_pods(request.filter)
        for begin in range(0, len(found), _PORTION):
            yield messages.StreamPodSandboxStatsResponse(pod_sandbox_stats=found[begin : begin + _PORTION])

    async def _chosen_pods(
        self, chosen: messages.PodSandboxStatsFilter | None
    ) -> list[messages.PodSandboxStats]:
        chosen = chosen or messages.PodSandboxStatsFilter()
        wanted = [
            pod
            for pod in self._inventory.pods.values()
            if pod.is_ready
            and pod.id.startswith(chosen.id)
            and _has(pod.config.labels, chosen.label_selector)
        ]
        await self._space.measured()
        found: list[messages.PodSandboxStats] = await self._host.run(self._of_pods, wanted)
        return found

    def _of_pods(self, pods: list[Pod]) -> list[messages.PodSandboxStats]:
        return [self._of_pod(pod) for pod in pods]

    def _of_pod(self, pod: Pod) -> messages.PodSandboxStats:
        config = pod.config
        attributes = messages.PodSandboxAttributes(
            id=pod.id, metadata=config.metadata, labels=config.labels, annotations=config.annotations
        )
        running = [each for each in list(pod.containers.values()) if each.state == RUNNING]
        containers = self._of_containers(running)
        linux = messages.LinuxPodSandboxStats(containers=containers)
        sample = self._measuring.pod(pod)
        if sample is not None:
            linux.cpu, linux.memory = measuring.cpu(sample), measuring.memory(sample)
            linux.io = measuring.io(sample)
        else:
            holder = self._measuring.holder(pod)
            linux.cpu, linux.memory = _sum_of_cpu(containers, holder), _sum_of_memory(containers, holder)
        if not pod.on_host_network:
            linux.network = pod_interfaces.usage(pod.kept.pid)
        linux.process = messages.ProcessUsage(
            timestamp=clock.now(), process_count=measuring.number(self._measuring.processes(pod))
        )
        return messages.PodSandboxStats(attributes=attributes, linux=linux)


def _attributes(container: Container) -> messages.ContainerAttributes:
    config = container.config
    return messages.ContainerAttributes(
        id=container.id, metadata=config.metadata, labels=config.labels, annotations=config.annotations
    )


def _has(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())


def _sum_of_cpu(containers: list[messages.ContainerStats], holder: Sample | None) -> messages.CpuUsage:
    """Where a pod has no cgroup around all of it: what its parts use."""
    parts = [each.cpu for each in containers if each.cpu is not None]
    if holder is not None and (held := measuring.cpu(holder)) is not None:
        parts.append(held)
    rates = [each.usage_nano_cores.value for each in parts if each.usage_nano_cores is not None]
    totals = [each.usage_core_nano_seconds for each in parts if each.usage_core_nano_seconds is not None]
    return messages.CpuUsage(
        timestamp=clock.now(),
        usage_core_nano_seconds=measuring.number(sum(each.value for each in totals)),
        usage_nano_cores=measuring.number(sum(rates)) if rates else None,
    )


def _sum_of_memory(containers: list[messages.ContainerStats], holder: Sample | None) -> messages.MemoryUsage:
    parts = [each.memory for each in containers if each.memory is not None]
    if holder is not None and (held := measuring.memory(holder)) is not None:
        parts.append(held)
    sums = {
        name: measuring.number(sum(getattr(each, name).value for each in parts))
        for name in ("working_set_bytes", "usage_bytes", "rss_bytes", "page_faults", "major_page_faults")
    }
    return messages.MemoryUsage(timestamp=clock.now(), **sums)
