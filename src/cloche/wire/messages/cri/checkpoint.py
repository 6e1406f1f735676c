"""Containers and pods written to disk, and brought back."""

from __future__ import annotations

from cloche.wire.messages.cri.containers import ContainerConfig
from cloche.wire.messages.cri.pod_config import PodSandboxConfig
from cloche.wire.protobuf import Message, int64, mapping, message, repeated, string
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "runtime.v1"


class CheckpointContainerRequest(Message, package=_PACKAGE):
    """Write a container's state into an archive. location: its path."""

    container_id: str = string(1)
    location: str = string(2)
    timeout: int = int64(3)


class CheckpointContainerResponse(Message, package=_PACKAGE):
    """It is written."""


class CheckpointPodRequest(Message, package=_PACKAGE):
    """Write a pod's state."""

    pod_sandbox_id: str = string(1)
    output_path: str = string(2)
    container_ids: Sequence[str] = repeated(3, STRING)
    options: Mapping[str, str] = mapping(4, STRING, STRING)


class CheckpointPodResponse(Message, package=_PACKAGE):
    """It is written."""


class RestorePodRequest(Message, package=_PACKAGE):
    """Bring a pod back."""

    checkpoint_path: str = string(1)
    config: PodSandboxConfig | None = message(2, PodSandboxConfig)
    runtime_handler: str = string(3)
    options: Mapping[str, str] = mapping(4, STRING, STRING)
    container_configs: Sequence[ContainerConfig] = repeated(5, ContainerConfig)


class RestoredContainer(Message, package=_PACKAGE):
    """A container that came back."""

    name: str = string(1)
    container_id: str = string(2)


class RestorePodResponse(Message, package=_PACKAGE):
    """What came back."""

    pod_sandbox_id: str = string(1)
    restored_containers: Sequence[RestoredContainer] = repeated(2, RestoredContainer)
