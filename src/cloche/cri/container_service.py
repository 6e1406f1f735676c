"""The part of RuntimeService that is about containers."""

from __future__ import annotations

import os

from cloche.cri import resources, signals
from cloche.errors import FailedPrecondition, NotFound
from cloche.spec.document import dumps, loads
from cloche.store import containers as store
from cloche.wire.messages.cri import containers as messages
from cloche.wire.messages.cri import status
from cloche.wire.messages.cri.images import ImageSpec
from cloche.wire.messages.cri.resources import ContainerResources
from cloche.wire.messages.shim_streams import ReopenLogsRequest
from cloche.wire.services.cri import RUNTIME
from cloche.wire.services.streams import STREAMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cloche.cri.containers import Containers
    from cloche.cri.host import Host
    from cloche.cri.inventory import Container, Inventory
    from cloche.cri.tasks import Tasks
    from cloche.wire.protobuf import Encoded

_PORTION = 1000


class ContainerService:
    """The service."""

    SERVICE = RUNTIME

    def __init__(self, host: Host, inventory: Inventory, containers: Containers, tasks: Tasks) -> None:
        self._host = host
        self._inventory = inventory
        self._containers = containers
        self._tasks = tasks

    async def create_container(
        self, _call: object, request: messages.CreateContainerRequest
    ) -> messages.CreateContainerResponse:
        """Make a container in a pod. Asked for again, it joins what is under way, or finds it done."""
        pod = self._inventory.pod(request.pod_sandbox_id)
        container_id = await self._containers.create(pod, request.config)
        return messages.CreateContainerResponse(container_id=container_id)

    async def start_container(
        self, _call: object, request: messages.StartContainerRequest
    ) -> messages.StartContainerResponse:
        """Start one."""
        await self._containers.start(self._inventory.container(request.container_id))
        return messages.StartContainerResponse()

    async def stop_container(
        self, _call: object, request: messages.StopContainerRequest
    ) -> messages.StopContainerResponse:
        """Stop one; one that is gone has stopped."""
        try:
            container = self._inventory.container(request.container_id)
        except NotFound:
            return messages.StopContainerResponse()
        await self._containers.stop(container, request.timeout)
        return messages.StopContainerResponse()

    async def remove_container(
        self, _call: object, request: messages.RemoveContainerRequest
    ) -> messages.RemoveContainerResponse:
        """Remove one; one that is gone is removed."""
        try:
            container = self._inventory.container(request.container_id)
        except NotFound:
            return messages.RemoveContainerResponse()
        await self._containers.remove(container)
        return messages.RemoveContainerResponse()

    def list_containers(
        self, _call: object, request: messages.ListContainersRequest
    ) -> messages.ListContainersResponse:
        """Those that the filter chooses, the oldest first."""
        return messages.ListContainersResponse(
            containers=[_told(each) for each in self.chosen(request.filter)]
        )

    async def stream_containers(
        self, _call: object, request: messages.StreamContainersRequest
    ) -> AsyncIterator[messages.StreamContainersResponse]:
        """The same, in several answers."""
        found = self.chosen(request.filter)
        for begin in range(0, len(found), _PORTION):
            portion = found[begin : begin + _PORTION]
            yield messages.StreamContainersResponse(containers=[_told(each) for each in portion])

    def chosen(self, chosen: messages.ContainerFilter | None) -> list[Container]:
        """The containers that a filter chooses."""
        found = list(self._inventory.containers.values())
        if chosen is None:
            return found
        wanted = chosen.label_selector.items()
        state = chosen.state.state if chosen.state is not None else None
        return [
            each
            for each in found
            if each.id.startswith(chosen.id)
            and each.kept.pod.startswith(chosen.pod_sandbox_id)
            and (state is None or each.state == state)
            and (not wanted or wanted <= dict(each.config.labels).items())
        ]

    async def container_status(
        self, _call: object, request: status.ContainerStatusRequest
    ) -> status.ContainerStatusResponse:
        """How one is."""
        container = self._inventory.container(request.container_id)
        info = await self._info(container) if request.verbose else {}
        return status.ContainerStatusResponse(status=describe(container), info=info)

    async def _info(self, container: Container) -> dict[str, str]:
        context = self._host.context
        with context.metadata.read() as tx:
            row = store.get(tx, context.namespace, container.id)
        spec = loads(row.spec, "config.json") if row is not None and row.spec else {}
        told = {
            "sandboxID": container.kept.pod,
            "pid": container.kept.pid,
            "removing": False,
            "snapshotter": row.snapshotter if row else "",
            "snapshotKey": row.snapshot_key if row else "",
            "runtimeType": row.runtime if row else "",
            "runtimeSpec": spec,
        }
        return {"info": dumps(told).decode()}

    async def update_container_resources(
        self, _call: object, request: messages.UpdateContainerResourcesRequest
    ) -> messages.UpdateContainerResourcesResponse:
        """Change limits: what is 0 or empty stays as it is."""
        container = self._inventory.container(request.container_id)
        if request.linux is not None:
            await self._containers.update(container, request.linux, request.annotations)
        return messages.UpdateContainerResourcesResponse()

    async def reopen_container_log(
        self, _call: object, request: messages.ReopenContainerLogRequest
    ) -> messages.ReopenContainerLogResponse:
        """Go on in a new log: the kubelet has renamed the old one."""
        container = self._inventory.container(request.container_id)
        if container.state != messages.RUNNING:
            raise FailedPrecondition(f"container {container.id}: is not running: its log is closed")
        shim = await self._tasks.shim(container.id)
        await shim.call("ReopenLogs", ReopenLogsRequest(id=container.id), service=STREAMS)
        return messages.ReopenContainerLogResponse()


def _told(container: Container) -> Encoded:
    """One of a list. A kubelet asks for all of them every second, and few have changed."""
    return container.told(container.state, _listed)


def _listed(container: Container) -> messages.Container:
    config, kept = container.config, container.kept
    return messages.Container(
        id=container.id,
        pod_sandbox_id=kept.pod,
        metadata=config.metadata,
        image=config.image,
        image_ref=kept.image_id,
        image_id=kept.image_id,
        state=container.state,
        created_at=kept.created_at,
        labels=config.labels,
        annotations=config.annotations,
    )


def describe(container: Container) -> status.ContainerStatus:
    """How a container is."""
    config, kept = container.config, container.kept
    limits = resources.in_force(kept.resources)
    return status.ContainerStatus(
        id=container.id,
        metadata=config.metadata,
        state=container.state,
        created_at=kept.created_at,
        started_at=kept.started_at,
        finished_at=kept.finished_at,
        exit_code=kept.exit_code,
        image=ImageSpec(
            image=config.image.image if config.image else "",
            annotations=config.image.annotations if config.image else {},
            user_specified_image=config.image.user_specified_image if config.image else "",
        ),
        image_ref=kept.image_ref,
        image_id=kept.image_id,
        reason=kept.reason,
        message=kept.explanation,
        labels=config.labels,
        annotations=config.annotations,
        mounts=[_with_source(mount) for mount in config.mounts],
        log_path=kept.log_path,
        resources=ContainerResources(linux=limits) if limits is not None else None,
        user=kept.user,
        stop_signal=signals.number_for(kept.stop_signal),
    )


def _with_source(mount: messages.Mount) -> messages.Mount:
    """A mount as it was made: its source is where links lead."""
    if mount.image is not None:
        return mount
    values = dict(vars(mount)) | {"host_path": os.path.realpath(mount.host_path)}
    return messages.Mount(**values)
