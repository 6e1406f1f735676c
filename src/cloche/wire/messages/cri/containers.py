"""Containers: made, started, looked at, stopped and removed."""

from __future__ import annotations

from cloche.wire.messages.cri.images import ImageSpec
from cloche.wire.messages.cri.pod_config import PodSandboxConfig
from cloche.wire.messages.cri.resources import LinuxContainerResources
from cloche.wire.messages.cri.values import (
    Capability,
    IDMapping,
    Int64Value,
    KeyValue,
    NamespaceOption,
    SecurityProfile,
    SELinuxOption,
)
from cloche.wire.protobuf import (
    Message,
    boolean,
    enumeration,
    int64,
    mapping,
    message,
    repeated,
    string,
    uint32,
)
from cloche.wire.protobuf_values import INT64, STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "runtime.v1"

CREATED, RUNNING, EXITED, UNKNOWN = 0, 1, 2, 3
"""Container.state."""
PRIVATE, HOST_TO_CONTAINER, BIDIRECTIONAL = 0, 1, 2
"""Mount.propagation."""


class Mount(Message, package=_PACKAGE):
    """Something mounted into a container: a path of the host, or an image."""

    container_path: str = string(1)
    host_path: str = string(2)
    readonly: bool = boolean(3)
    selinux_relabel: bool = boolean(4)
    propagation: int = enumeration(5)
    uid_mappings: Sequence[IDMapping] = repeated(6, IDMapping)
    gid_mappings: Sequence[IDMapping] = repeated(7, IDMapping)
    recursive_read_only: bool = boolean(8)
    image: ImageSpec | None = message(9, ImageSpec)
    image_sub_path: str = string(10)
    mount_options: Sequence[str] = repeated(11, STRING)


class LinuxContainerSecurityContext(Message, package=_PACKAGE):
    """What a container may do."""

    capabilities: Capability | None = message(1, Capability)
    privileged: bool = boolean(2)
    namespace_options: NamespaceOption | None = message(3, NamespaceOption)
    selinux_options: SELinuxOption | None = message(4, SELinuxOption)
    run_as_user: Int64Value | None = message(5, Int64Value)
    run_as_group: Int64Value | None = message(12, Int64Value)
    run_as_username: str = string(6)
    readonly_rootfs: bool = boolean(7)
    supplemental_groups: Sequence[int] = repeated(8, INT64)
    supplemental_groups_policy: int = enumeration(17)
    no_new_privs: bool = boolean(11)
    masked_paths: Sequence[str] = repeated(13, STRING)
    readonly_paths: Sequence[str] = repeated(14, STRING)
    seccomp: SecurityProfile | None = message(15, SecurityProfile)
    apparmor: SecurityProfile | None = message(16, SecurityProfile)
    apparmor_profile: str = string(9)
    seccomp_profile_path: str = string(10)


class LinuxContainerConfig(Message, package=_PACKAGE):
    """What only Linux has of a container."""

    resources: LinuxContainerResources | None = message(1, LinuxContainerResources)
    security_context: LinuxContainerSecurityContext | None = message(2, LinuxContainerSecurityContext)


class ContainerMetadata(Message, package=_PACKAGE):
    """Its name in the pod; attempt: how often it was made anew."""

    name: str = string(1)
    attempt: int = uint32(2)


class Device(Message, package=_PACKAGE):
    """A device of the host that a container gets."""

    container_path: str = string(1)
    host_path: str = string(2)
    permissions: str = string(3)


class CDIDevice(Message, package=_PACKAGE):
    """A device that a CDI specification describes: vendor/class=name."""

    name: str = string(1)


class ContainerConfig(Message, package=_PACKAGE):
    """All about a container that is to be."""

    metadata: ContainerMetadata | None = message(1, ContainerMetadata)
    image: ImageSpec | None = message(2, ImageSpec)
    command: Sequence[str] = repeated(3, STRING)
    args: Sequence[str] = repeated(4, STRING)
    working_dir: str = string(5)
    envs: Sequence[KeyValue] = repeated(6, KeyValue)
    mounts: Sequence[Mount] = repeated(7, Mount)
    devices: Sequence[Device] = repeated(8, Device)
    labels: Mapping[str, str] = mapping(9, STRING, STRING)
    annotations: Mapping[str, str] = mapping(10, STRING, STRING)
    log_path: str = string(11)
    stdin: bool = boolean(12)
    stdin_once: bool = boolean(13)
    tty: bool = boolean(14)
    linux: LinuxContainerConfig | None = message(15, LinuxContainerConfig)
    cdi_devices: Sequence[CDIDevice] = repeated(17, CDIDevice)
    stop_signal: int = enumeration(18)


class CreateContainerRequest(Message, package=_PACKAGE):
    """Make a container in a pod."""

    pod_sandbox_id: str = string(1)
    config: ContainerConfig | None = message(2, ContainerConfig)
    sandbox_config: PodSandboxConfig | None = message(3, PodSandboxConfig)


class CreateContainerResponse(Message, package=_PACKAGE):
    """Its id."""

    container_id: str = string(1)


class StartContainerRequest(Message, package=_PACKAGE):
    """Start a container."""

    container_id: str = string(1)


class StartContainerResponse(Message, package=_PACKAGE):
    """It runs."""


class StopContainerRequest(Message, package=_PACKAGE):
    """Stop a container. timeout: seconds until it is killed."""

    container_id: str = string(1)
    timeout: int = int64(2)


class StopContainerResponse(Message, package=_PACKAGE):
    """It has stopped."""


class RemoveContainerRequest(Message, package=_PACKAGE):
    """Remove a container, running or not."""

    container_id: str = string(1)


class RemoveContainerResponse(Message, package=_PACKAGE):
    """It is gone."""


class ContainerStateValue(Message, package=_PACKAGE):
    """A state, where one is asked for."""

    state: int = enumeration(1)


class ContainerFilter(Message, package=_PACKAGE):
    """Which containers: all that is said has to be so."""

    id: str = string(1)
    state: ContainerStateValue | None = message(2, ContainerStateValue)
    pod_sandbox_id: str = string(3)
    label_selector: Mapping[str, str] = mapping(4, STRING, STRING)


class ListContainersRequest(Message, package=_PACKAGE):
    """Ask for containers."""

    filter: ContainerFilter | None = message(1, ContainerFilter)


class Container(Message, package=_PACKAGE):
    """A container, in a list. created_at: in ns since 1970."""

    id: str = string(1)
    pod_sandbox_id: str = string(2)
    metadata: ContainerMetadata | None = message(3, ContainerMetadata)
    image: ImageSpec | None = message(4, ImageSpec)
    image_ref: str = string(5)
    state: int = enumeration(6)
    created_at: int = int64(7)
    labels: Mapping[str, str] = mapping(8, STRING, STRING)
    annotations: Mapping[str, str] = mapping(9, STRING, STRING)
    image_id: str = string(10)


class ListContainersResponse(Message, package=_PACKAGE):
    """The containers."""

    containers: Sequence[Container] = repeated(1, Container)


class StreamContainersRequest(Message, package=_PACKAGE):
    """Ask for containers, in several answers."""

    filter: ContainerFilter | None = message(1, ContainerFilter)


class StreamContainersResponse(Message, package=_PACKAGE):
    """Some of them."""

    containers: Sequence[Container] = repeated(1, Container)


class UpdateContainerResourcesRequest(Message, package=_PACKAGE):
    """Change limits."""

    container_id: str = string(1)
    linux: LinuxContainerResources | None = message(2, LinuxContainerResources)
    annotations: Mapping[str, str] = mapping(4, STRING, STRING)


class UpdateContainerResourcesResponse(Message, package=_PACKAGE):
    """They are changed."""


class ReopenContainerLogRequest(Message, package=_PACKAGE):
    """The log was renamed: begin a new one."""

    container_id: str = string(1)


class ReopenContainerLogResponse(Message, package=_PACKAGE):
    """It goes on in the new one."""
