"""What is kept of pods and containers, in their rows: the truth after a crash."""

from __future__ import annotations

from cloche.cri.settings import NAMESPACE
from cloche.store import containers, sandboxes
from cloche.store.labels import MAX_LABEL_BYTES
from cloche.wire.messages import containers as container_messages
from cloche.wire.messages.cri.containers import ContainerConfig, Mount
from cloche.wire.messages.cri.pod_config import PodSandboxConfig
from cloche.wire.messages.cri.resources import LinuxContainerResources
from cloche.wire.messages.cri.status import ContainerUser
from cloche.wire.messages.google import Any
from cloche.wire.messages.types import Sandbox, SandboxRuntime
from cloche.wire.protobuf import Message, boolean, int32, int64, message, repeated, string, uint32
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "cloche.cri"
KIND = "io.cri-containerd.kind"
CONTAINER, SANDBOX = "container", "sandbox"
_EXTENSION = "cloche.cri"


class KeptPod(Message, package=_PACKAGE):
    """A pod. made: whether RunPodSandbox came to its end; what crashed before is removed.

    created_at: ns since 1970. netns: where its network namespace is pinned; "" for the host's. pid: of the
    process that holds its namespaces. stopped: whether it was stopped, or its holder has ended.
    asked_handler: as the client named it, "" for the default one. categories: of SELinux; "" without it.
    """

    config: PodSandboxConfig | None = message(1, PodSandboxConfig)
    handler: str = string(2)
    created_at: int = int64(3)
    netns: str = string(4)
    ips: Sequence[str] = repeated(5, STRING)
    pid: int = uint32(6)
    made: bool = boolean(7)
    stopped: bool = boolean(8)
    asked_handler: str = string(9)
    categories: str = string(10)


class KeptContainer(Message, package=_PACKAGE):
    """A container. made: whether CreateContainer came to its end; what crashed before is removed.

    Times in ns since 1970, 0 for not yet. stop_signal: a name or number; "" for SIGTERM. image_volumes:
    keys of the views that are mounted into it. checkpoint: the archive that it begins from.
    """

    pod: str = string(1)
    config: ContainerConfig | None = message(2, ContainerConfig)
    image_id: str = string(3)
    image_ref: str = string(4)
    log_path: str = string(5)
    created_at: int = int64(6)
    started_at: int = int64(7)
    finished_at: int = int64(8)
    exit_code: int = int32(9)
    reason: str = string(10)
    stop_signal: str = string(12)
    resources: LinuxContainerResources | None = message(13, LinuxContainerResources)
    user: ContainerUser | None = message(14, ContainerUser)
    made: bool = boolean(15)
    image_volumes: Sequence[str] = repeated(16, STRING)
    pid: int = uint32(17)
    mounts: Sequence[Mount] = repeated(18, Mount)
    explanation: str = string(11)
    checkpoint: str = string(19)


def pod_row(pod_id: str, kept: KeptPod, runtime: str) -> sandboxes.Sandbox:
    """A pod for the store of sandboxes, where containerd's clients see it."""
    config = kept.config or PodSandboxConfig()
    record = Sandbox(
        runtime=SandboxRuntime(name=runtime),
        extensions={_EXTENSION: Any.pack(kept)},
        sandboxer="podsandbox",
    )
    return sandboxes.Sandbox(pod_id, NAMESPACE, labels(config.labels, SANDBOX), record.encode())


def pod_of(row: sandboxes.Sandbox) -> KeptPod | None:
    """What was kept of a pod; None for a sandbox that is none of ours."""
    extension = Sandbox.decode(row.record).extensions.get(_EXTENSION)
    return KeptPod.decode(extension.value) if extension else None


def holder_row(pod_id: str, config: PodSandboxConfig, *, spec: bytes, runtime: str) -> containers.Container:
    """The container that stands for a pod, as containerd's clients see it."""
    extensions = container_messages.Container(spec=Any(type_url=containers.SPEC_TYPE))
    return containers.Container(
        id=pod_id,
        namespace=NAMESPACE,
        labels=labels(config.labels, SANDBOX),
        spec=spec,
        runtime=runtime,
        extensions=extensions.encode(),
        sandbox=pod_id,
    )


def extensions_of(kept: KeptContainer) -> bytes:
    """What a container's row has beside its columns."""
    return container_messages.Container(
        spec=Any(type_url=containers.SPEC_TYPE), extensions={_EXTENSION: Any.pack(kept)}
    ).encode()


def container_of(row: containers.Container) -> KeptContainer | None:
    """What was kept of a container; None for one that is none of ours."""
    extension = container_messages.Container.decode(row.extensions).extensions.get(_EXTENSION)
    return KeptContainer.decode(extension.value) if extension else None


def labels(given: Mapping[str, str], kind: str) -> dict[str, str]:
    """Labels for a row: those that are too long for one are in the record alone."""
    fitting = {
        key: value
        for key, value in given.items()
        if key and len(key.encode()) + len(value.encode()) <= MAX_LABEL_BYTES
    }
    return fitting | {KIND: kind}
