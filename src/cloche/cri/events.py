"""What happens to pods and containers, told to all who asked for it."""

from __future__ import annotations

import asyncio
import logging

from cloche.store import clock
from cloche.wire.messages.cri import events as messages
from cloche.wire.messages.google import StringValue
from cloche.wire.messages.metadata_events import ContainerCreate, ContainerDelete
from cloche.wire.services.cri import RUNTIME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cloche.cri.host import Host
    from cloche.cri.inventory import Container, Inventory, Pod
    from cloche.wire.messages.cri.pods import PodSandboxStatus
    from cloche.wire.messages.cri.status import ContainerStatus

_log = logging.getLogger("cloche.cri")

_QUEUE_LIMIT = 1000


class Events:
    """Collects and tells. describe: how a pod and its containers are; set when that is known."""

    SERVICE = RUNTIME

    def __init__(self, host: Host, inventory: Inventory) -> None:
        self._host = host
        self._inventory = inventory
        self._listening: set[asyncio.Queue[messages.ContainerEventResponse]] = set()
        self.describe: Callable[[Pod], tuple[PodSandboxStatus, list[ContainerStatus]]] | None = None

    async def get_container_events(
        self, _call: object, _request: messages.GetEventsRequest
    ) -> AsyncIterator[messages.ContainerEventResponse]:
        """Everything from now on. Who is far behind misses the oldest."""
        queue: asyncio.Queue[messages.ContainerEventResponse] = asyncio.Queue(_QUEUE_LIMIT)
        self._listening.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listening.discard(queue)

    def started(self, pod: Pod) -> None:
        """A pod runs: both of its events, since it is made and started in one call."""
        self._tell(messages.CREATED, pod.id, pod)
        self._tell(messages.STARTED, pod.id, pod)

    def stopped(self, pod: Pod) -> None:
        """A pod has stopped."""
        self._tell(messages.STOPPED, pod.id, pod)

    def removed(self, pod: Pod) -> None:
        """A pod is gone."""
        self._tell(messages.DELETED, pod.id, None)

    def created(self, container: Container) -> None:
        """A container was made."""
        self._host.publish(
            "/containers/create", ContainerCreate(id=container.id, image=container.kept.image_ref)
        )
        self._of_container(messages.CREATED, container)

    def started_container(self, container: Container) -> None:
        """A container runs."""
        self._of_container(messages.STARTED, container)

    def stopped_container(self, container: Container) -> None:
        """A container has ended."""
        self._of_container(messages.STOPPED, container)

    def removed_container(self, container: Container) -> None:
        """A container is gone."""
        self._host.publish("/containers/delete", ContainerDelete(id=container.id))
        self._of_container(messages.DELETED, container)

    def slow(self, what: str) -> None:
        """A piece of work has been at one thing for long."""
        _log.warning("%s", what)
        self._host.publish("/cri/slow", StringValue(value=what))

    def _of_container(self, kind: int, container: Container) -> None:
        self._tell(kind, container.id, self._inventory.pods.get(container.kept.pod))

    def _tell(self, kind: int, container_id: str, pod: Pod | None) -> None:
        if not self._listening:
            return
        event = messages.ContainerEventResponse(
            container_id=container_id, container_event_type=kind, created_at=clock.now()
        )
        if pod is not None and self.describe is not None:
            event.pod_sandbox_status, event.containers_statuses = self.describe(pod)
        for queue in self._listening:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)
