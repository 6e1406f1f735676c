"""Pods: made, looked at, stopped and removed."""

from __future__ import annotations

from cloche.wire.messages.cri.pod_config import PodSandboxConfig, PodSandboxMetadata
from cloche.wire.messages.cri.resources import LinuxContainerResources
from cloche.wire.messages.cri.status import ContainerStatus
from cloche.wire.messages.cri.values import NamespaceOption
from cloche.wire.protobuf import Message, boolean, enumeration, int64, mapping, message, repeated, string
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "runtime.v1"

READY, NOT_READY = 0, 1
"""PodSandboxStatus.state."""


class RunPodSandboxRequest(Message, package=_PACKAGE):
    """Make and start a pod."""

    config: PodSandboxConfig | None = message(1, PodSandboxConfig)
    runtime_handler: str = string(2)


class RunPodSandboxResponse(Message, package=_PACKAGE):
    """Its id."""

    pod_sandbox_id: str = string(1)


class StopPodSandboxRequest(Message, package=_PACKAGE):
    """Stop a pod with all in it."""

    pod_sandbox_id: str = string(1)


class StopPodSandboxResponse(Message, package=_PACKAGE):
    """It is stopped."""


class RemovePodSandboxRequest(Message, package=_PACKAGE):
    """Remove a pod with all in it."""

    pod_sandbox_id: str = string(1)


class RemovePodSandboxResponse(Message, package=_PACKAGE):
    """It is gone."""


class PodSandboxStatusRequest(Message, package=_PACKAGE):
    """Ask how a pod is. verbose: with all that is known."""

    pod_sandbox_id: str = string(1)
    verbose: bool = boolean(2)


class PodIP(Message, package=_PACKAGE):
    """One address."""

    ip: str = string(1)


class PodSandboxNetworkStatus(Message, package=_PACKAGE):
    """A pod's addresses; the first is the one to use."""

    ip: str = string(1)
    additional_ips: Sequence[PodIP] = repeated(2, PodIP)


class Namespace(Message, package=_PACKAGE):
    """Which namespaces a pod shares."""

    options: NamespaceOption | None = message(2, NamespaceOption)


class LinuxPodSandboxStatus(Message, package=_PACKAGE):
    """What only Linux has of it."""

    namespaces: Namespace | None = message(1, Namespace)


class PodSandboxStatus(Message, package=_PACKAGE):
    """How a pod is. created_at: in ns since 1970."""

    id: str = string(1)
    metadata: PodSandboxMetadata | None = message(2, PodSandboxMetadata)
    state: int = enumeration(3)
    created_at: int = int64(4)
    network: PodSandboxNetworkStatus | None = message(5, PodSandboxNetworkStatus)
    linux: LinuxPodSandboxStatus | None = message(6, LinuxPodSandboxStatus)
    labels: Mapping[str, str] = mapping(7, STRING, STRING)
    annotations: Mapping[str, str] = mapping(8, STRING, STRING)
    runtime_handler: str = string(9)


class PodSandboxStatusResponse(Message, package=_PACKAGE):
    """How it is, and its containers."""

    status: PodSandboxStatus | None = message(1, PodSandboxStatus)
    info: Mapping[str, str] = mapping(2, STRING, STRING)
    containers_statuses: Sequence[ContainerStatus] = repeated(3, ContainerStatus)
    timestamp: int = int64(4)


class PodSandboxStateValue(Message, package=_PACKAGE):
    """A state, where one is asked for."""

    state: int = enumeration(1)


class PodSandboxFilter(Message, package=_PACKAGE):
    """Which pods: all that is said has to be so."""

    id: str = string(1)
    state: PodSandboxStateValue | None = message(2, PodSandboxStateValue)
    label_selector: Mapping[str, str] = mapping(3, STRING, STRING)


class ListPodSandboxRequest(Message, package=_PACKAGE):
    """Ask for pods."""

    filter: PodSandboxFilter | None = message(1, PodSandboxFilter)


class PodSandbox(Message, package=_PACKAGE):
    """A pod, in a list."""

    id: str = string(1)
    metadata: PodSandboxMetadata | None = message(2, PodSandboxMetadata)
    state: int = enumeration(3)
    created_at: int = int64(4)
    labels: Mapping[str, str] = mapping(5, STRING, STRING)
    annotations: Mapping[str, str] = mapping(6, STRING, STRING)
    runtime_handler: str = string(7)


class ListPodSandboxResponse(Message, package=_PACKAGE):
    """The pods."""

    items: Sequence[PodSandbox] = repeated(1, PodSandbox)


class StreamPodSandboxesRequest(Message, package=_PACKAGE):
    """Ask for pods, in several answers."""

    filter: PodSandboxFilter | None = message(1, PodSandboxFilter)


class StreamPodSandboxesResponse(Message, package=_PACKAGE):
    """Some of them."""

    pod_sandboxes: Sequence[PodSandbox] = repeated(1, PodSandbox)


class UpdatePodSandboxResourcesRequest(Message, package=_PACKAGE):
    """Change the limits of a pod as a whole."""

    pod_sandbox_id: str = string(1)
    overhead: LinuxContainerResources | None = message(2, LinuxContainerResources)
    resources: LinuxContainerResources | None = message(3, LinuxContainerResources)


class UpdatePodSandboxResourcesResponse(Message, package=_PACKAGE):
    """They are changed."""
