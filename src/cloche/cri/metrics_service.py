"""The part of RuntimeService that measures what cAdvisor would."""

from __future__ import annotations

from cloche.cri import pod_interfaces
from cloche.cri.metrics import TABLE, Seen, metrics
from cloche.wire.messages.cri import metrics as messages
from cloche.wire.messages.cri.containers import RUNNING
from cloche.wire.services.cri import RUNTIME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cloche.cri.host import Host
    from cloche.cri.image_space import ImageSpace
    from cloche.cri.inventory import Inventory, Pod
    from cloche.cri.measuring import Measuring

_PORTION = 50


class MetricsService:
    """The service."""

    SERVICE = RUNTIME

    def __init__(self, host: Host, inventory: Inventory, measures: Measuring, space: ImageSpace) -> None:
        self._host = host
        self._inventory = inventory
        self._measuring = measures
        self._space = space

    def list_metric_descriptors(
        self, _call: object, _request: messages.ListMetricDescriptorsRequest
    ) -> messages.ListMetricDescriptorsResponse:
        """Which measurements there are."""
        return messages.ListMetricDescriptorsResponse(descriptors=[row.descriptor() for row in TABLE])

    async def list_pod_sandbox_metrics(
        self, _call: object, _request: messages.ListPodSandboxMetricsRequest
    ) -> messages.ListPodSandboxMetricsResponse:
        """All measurements of all pods that run."""
        return messages.ListPodSandboxMetricsResponse(pod_metrics=await self._all())

    async def stream_pod_sandbox_metrics(
        self, _call: object, _request: messages.StreamPodSandboxMetricsRequest
    ) -> AsyncIterator[messages.StreamPodSandboxMetricsResponse]:
        """The same, in several answers."""
        found = await self._all()
        for begin in range(0, len(found), _PORTION):
            yield messages.StreamPodSandboxMetricsResponse(
                pod_sandbox_metrics=found[begin : begin + _PORTION]
            )

    async def _all(self) -> list[messages.PodSandboxMetrics]:
        await self._space.measured()
        pods = [pod for pod in self._inventory.pods.values() if pod.is_ready]
        found: list[messages.PodSandboxMetrics] = await self._host.run(self._of_pods, pods)
        return found

    def _of_pods(self, pods: list[Pod]) -> list[messages.PodSandboxMetrics]:
        return [self._of_pod(pod) for pod in pods]

    def _of_pod(self, pod: Pod) -> messages.PodSandboxMetrics:
        metadata = pod.metadata
        names = (metadata.name, metadata.namespace)
        answer = messages.PodSandboxMetrics(pod_sandbox_id=pod.id)
        holder = self._measuring.holder(pod, whole=True)
        if holder is not None:
            links = () if pod.on_host_network else tuple(pod_interfaces.of(pod.kept.pid))
            seen = Seen(holder, interfaces=links)
            answer.metrics = metrics(seen, (*names, "POD", pod.id, self._host.settings.pause_image))
        parts = []
        for container in list(pod.containers.values()):
            sample = self._measuring.container(pod, container, whole=True)
            if sample is None or container.state != RUNNING:
                continue
            layer = self._space.last().layers.get(container.id)
            seen = Seen(sample, container, layer=layer, device=self._space.mountpoint)
            image = container.config.image.image if container.config.image else ""
            labels = (*names, container.metadata.name, container.id, image)
            parts.append(messages.ContainerMetrics(container_id=container.id, metrics=metrics(seen, labels)))
        answer.container_metrics = parts
        return answer
