"""All pods and containers of a node, in memory beside their rows.

A container's state follows from facts:

    created ──(started_at)──▶ running ──(finished_at)──▶ exited
"""

from __future__ import annotations

import asyncio

from cloche.cri import records
from cloche.errors import InvalidArgument, NotFound
from cloche.store import containers as container_store
from cloche.store import sandboxes as pod_store
from cloche.wire.messages.cri import containers as states
from cloche.wire.messages.cri.containers import ContainerConfig, ContainerMetadata
from cloche.wire.messages.cri.pod_config import LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata
from cloche.wire.messages.cri.values import NODE, NamespaceOption
from cloche.wire.protobuf import Encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self, TypeVar

    from cloche.cri.host import Host
    from cloche.wire.protobuf import Message

    _T = TypeVar("_T", "Pod", "Container")


class _Known:
    """What clients ask for in lists."""

    def __init__(self) -> None:
        self._told: dict[object, Encoded] = {}

    def told(self, key: object, make: Callable[[Self], Message]) -> Encoded:
        """What `make` says of it, encoded once. key: whatever that depends on and may change."""
        found = self._told.get(key)
        if found is None:
            found = self._told[key] = Encoded(make(self))
        return found


class Pod(_Known):
    """A pod. changing: held by whoever starts, stops or removes it."""

    def __init__(self, pod_id: str, kept: records.KeptPod) -> None:
        super().__init__()
        self.id = pod_id
        self.kept = kept
        self.changing = asyncio.Lock()
        self.containers: dict[str, Container] = {}
        self.watcher: asyncio.Task[None] | None = None

    @property
    def config(self) -> PodSandboxConfig:
        """What it was asked to be."""
        return self.kept.config or PodSandboxConfig()

    @property
    def metadata(self) -> PodSandboxMetadata:
        """Its names in Kubernetes."""
        return self.config.metadata or PodSandboxMetadata()

    @property
    def linux(self) -> LinuxPodSandboxConfig:
        """What it was asked to be on Linux."""
        return self.config.linux or LinuxPodSandboxConfig()

    @property
    def namespaces(self) -> NamespaceOption:
        """What it shares."""
        security = self.linux.security_context
        return (security.namespace_options if security else None) or NamespaceOption()

    @property
    def on_host_network(self) -> bool:
        """Whether it is in the host's network."""
        return self.namespaces.network == NODE

    @property
    def is_ready(self) -> bool:
        """Whether containers can be made in it."""
        return self.kept.made and not self.kept.stopped


class Container(_Known):
    """A container. changing: held by whoever starts, stops or removes it. ended: set when it has."""

    def __init__(self, container_id: str, kept: records.KeptContainer) -> None:
        super().__init__()
        self.id = container_id
        self.kept = kept
        self.changing = asyncio.Lock()
        self.starting = False
        self.watcher: asyncio.Task[None] | None = None

    @property
    def config(self) -> ContainerConfig:
        """What it was asked to be."""
        return self.kept.config or ContainerConfig()

    @property
    def metadata(self) -> ContainerMetadata:
        """Its name in the pod."""
        return self.config.metadata or ContainerMetadata()

    @property
    def state(self) -> int:
        """In CRI's numbers."""
        if self.kept.finished_at:
            return states.EXITED
        return states.RUNNING if self.kept.started_at else states.CREATED


class Inventory:
    """Finds them, and keeps their rows as they are."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.pods: dict[str, Pod] = {}
        self.containers: dict[str, Container] = {}

    def load(self) -> None:
        """Read what is kept."""
        context = self._host.context
        with context.metadata.read() as tx:
            pods = pod_store.list(tx, context.namespace)
            containers = container_store.list(tx, context.namespace)
        for pod_row in pods:
            if kept_pod := records.pod_of(pod_row):
                self.pods[pod_row.id] = Pod(pod_row.id, kept_pod)
        for row in containers:
            if kept := records.container_of(row):
                self.add(Container(row.id, kept))

    def add(self, container: Container) -> None:
        """A container is there."""
        self.containers[container.id] = container
        if pod := self.pods.get(container.kept.pod):
            pod.containers[container.id] = container

    def discard(self, container: Container) -> None:
        """A container is gone."""
        self.containers.pop(container.id, None)
        if pod := self.pods.get(container.kept.pod):
            pod.containers.pop(container.id, None)

    def stop_watching(self) -> None:
        """Let go of all of them: this daemon ends."""
        watchers = [pod.watcher for pod in self.pods.values()]
        watchers += [container.watcher for container in self.containers.values()]
        for watcher in watchers:
            if watcher is not None:
                watcher.cancel()

    def pod(self, text: str) -> Pod:
        """The pod of an id, or of the beginning of one. Raises NotFound, InvalidArgument."""
        return _find(self.pods, text, "sandbox")

    def container(self, text: str) -> Container:
        """The container of an id, or of the beginning of one. Raises NotFound, InvalidArgument."""
        return _find(self.containers, text, "container")

    async def save_pod(self, pod: Pod, *, durable: bool = True) -> None:
        """Write a pod's row. durable: False for what means nothing after a power cut."""
        row = records.pod_row(pod.id, pod.kept, pod.kept.handler)
        await self._host.run(self._save_pod, row, durable, lane=("row", pod.id))

    def _save_pod(self, row: pod_store.Sandbox, durable: bool) -> None:  # noqa: FBT001 - see save_pod
        with self._host.context.metadata.write(durable=durable) as tx:
            pod_store.update(tx, row)

    async def save_container(self, container: Container, *, durable: bool = True) -> None:
        """Write a container's record into its row; one that has gone meanwhile does not matter."""
        extensions = records.extensions_of(container.kept)
        await self._host.run(self._save, container.id, extensions, durable, lane=("row", container.id))

    def _save(self, container_id: str, extensions: bytes, durable: bool) -> None:  # noqa: FBT001 - see above
        context = self._host.context
        with context.metadata.write(durable=durable) as tx:
            row = container_store.get(tx, context.namespace, container_id)
            if row is not None:
                container_store.update(tx, row.replace(extensions=extensions))


def _find(known: dict[str, _T], text: str, what: str) -> _T:
    found = known.get(text)
    if found is not None:
        return found
    begun = [each for key, each in known.items() if key.startswith(text)] if text else []
    if len(begun) > 1:
        raise InvalidArgument(f"{what} id {text[:80]!r}: several begin so: give more of it")
    if not begun:
        raise NotFound(f"{what} {text[:80]!r}: not found")
    return begun[0]
