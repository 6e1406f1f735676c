"""The part of RuntimeService that is about pods."""

from __future__ import annotations

from cloche.cri.container_service import describe as describe_container
from cloche.errors import NotFound, Unimplemented
from cloche.spec.document import dumps, loads
from cloche.store import clock
from cloche.store import containers as container_store
from cloche.wire.messages.cri import pods as messages
from cloche.wire.services.cri import RUNTIME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cloche.cri.host import Host
    from cloche.cri.inventory import Inventory, Pod
    from cloche.cri.nri.service import Nri
    from cloche.cri.pods import Pods
    from cloche.wire.messages.cri.status import ContainerStatus
    from cloche.wire.protobuf import Encoded

_PORTION = 1000


class PodService:
    """The service."""

    SERVICE = RUNTIME

    def __init__(self, host: Host, inventory: Inventory, pods: Pods, nri: Nri) -> None:
        self._host = host
        self._inventory = inventory
        self._pods = pods
        self._nri = nri

    async def run_pod_sandbox(
        self, _call: object, request: messages.RunPodSandboxRequest
    ) -> messages.RunPodSandboxResponse:
        """Make and start a pod. Asked for again, it joins what is under way, or finds it done."""
        pod_id = await self._pods.run(request.config, request.runtime_handler)
        return messages.RunPodSandboxResponse(pod_sandbox_id=pod_id)

    async def stop_pod_sandbox(
        self, _call: object, request: messages.StopPodSandboxRequest
    ) -> messages.StopPodSandboxResponse:
        """Stop a pod with all in it; one that is gone has stopped."""
        try:
            pod = self._inventory.pod(request.pod_sandbox_id)
        except NotFound:
            return messages.StopPodSandboxResponse()
        await self._pods.stop(pod)
        return messages.StopPodSandboxResponse()

    async def remove_pod_sandbox(
        self, _call: object, request: messages.RemovePodSandboxRequest
    ) -> messages.RemovePodSandboxResponse:
        """Remove a pod with all in it; one that is gone is removed."""
        try:
            pod = self._inventory.pod(request.pod_sandbox_id)
        except NotFound:
            return messages.RemovePodSandboxResponse()
        await self._pods.remove(pod)
        return messages.RemovePodSandboxResponse()

    def list_pod_sandbox(
        self, _call: object, request: messages.ListPodSandboxRequest
    ) -> messages.ListPodSandboxResponse:
        """Those that the filter chooses, the oldest first."""
        return messages.ListPodSandboxResponse(items=[_told(pod) for pod in self.chosen(request.filter)])

    async def stream_pod_sandboxes(
        self, _call: object, request: messages.StreamPodSandboxesRequest
    ) -> AsyncIterator[messages.StreamPodSandboxesResponse]:
        """The same, in several answers."""
        found = self.chosen(request.filter)
        for begin in range(0, len(found), _PORTION):
            portion = found[begin : begin + _PORTION]
            yield messages.StreamPodSandboxesResponse(pod_sandboxes=[_told(pod) for pod in portion])

    def chosen(self, chosen: messages.PodSandboxFilter | None) -> list[Pod]:
        """The pods that a filter chooses."""
        found = list(self._inventory.pods.values())
        if chosen is None:
            return found
        wanted = chosen.label_selector.items()
        state = chosen.state.state if chosen.state is not None else None
        return [
            pod
            for pod in found
            if pod.id.startswith(chosen.id)
            and (state is None or _state(pod) == state)
            and (not wanted or wanted <= dict(pod.config.labels).items())
        ]

    async def pod_sandbox_status(
        self, _call: object, request: messages.PodSandboxStatusRequest
    ) -> messages.PodSandboxStatusResponse:
        """How one is, with its containers."""
        pod = self._inventory.pod(request.pod_sandbox_id)
        status, containers = describe(pod)
        return messages.PodSandboxStatusResponse(
            status=status,
            info=self._info(pod) if request.verbose else {},
            containers_statuses=containers,
            timestamp=clock.now(),
        )

    def _info(self, pod: Pod) -> dict[str, str]:
        context = self._host.context
        with context.metadata.read() as tx:
            row = container_store.get(tx, context.namespace, pod.id)
        told = {
            "pid": pod.kept.pid,
            "runtimeHandler": pod.kept.handler,
            "netNSPath": pod.kept.netns,
            "ips": list(pod.kept.ips),
            "runtimeSpec": loads(row.spec, "config.json") if row is not None and row.spec else {},
        }
        return {"info": dumps(told).decode()}

    async def update_pod_sandbox_resources(
        self, _call: object, request: messages.UpdatePodSandboxResourcesRequest
    ) -> messages.UpdatePodSandboxResourcesResponse:
        """Note the limits of a pod as a whole, which the kubelet itself sets on the pod's cgroup."""
        pod = self._inventory.pod(request.pod_sandbox_id)
        linux = pod.config.linux
        if linux is None:
            raise Unimplemented(f"sandbox {pod.id}: was made without anything that has limits")
        await self._nri.update_pod(pod, request.overhead, request.resources)
        linux.overhead = request.overhead or linux.overhead
        linux.resources = request.resources or linux.resources
        await self._inventory.save_pod(pod)
        await self._nri.tell("PostUpdatePodSandbox", pod)
        return messages.UpdatePodSandboxResourcesResponse()


def _state(pod: Pod) -> int:
    return messages.READY if pod.is_ready else messages.NOT_READY


def _told(pod: Pod) -> Encoded:
    """One of a list. A kubelet asks for all of them every second, and few have changed."""
    return pod.told(_state(pod), _listed)


def _listed(pod: Pod) -> messages.PodSandbox:
    return messages.PodSandbox(
        id=pod.id,
        metadata=pod.config.metadata,
        state=_state(pod),
        created_at=pod.kept.created_at,
        labels=pod.config.labels,
        annotations=pod.config.annotations,
        runtime_handler=pod.kept.asked_handler,
    )


def describe(pod: Pod) -> tuple[messages.PodSandboxStatus, list[ContainerStatus]]:
    """How a pod and its containers are."""
    first, *others = pod.kept.ips if pod.is_ready and pod.kept.ips else [""]
    status = messages.PodSandboxStatus(
        id=pod.id,
        metadata=pod.config.metadata,
        state=_state(pod),
        created_at=pod.kept.created_at,
        network=messages.PodSandboxNetworkStatus(
            ip=first, additional_ips=[messages.PodIP(ip=each) for each in others]
        ),
        linux=messages.LinuxPodSandboxStatus(namespaces=messages.Namespace(options=pod.namespaces)),
        labels=pod.config.labels,
        annotations=pod.config.annotations,
        runtime_handler=pod.kept.asked_handler,
    )
    return status, [describe_container(each) for each in pod.containers.values()]
