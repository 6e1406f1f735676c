"""What a pod is to be."""

from __future__ import annotations

from cloche.wire.messages.cri.resources import LinuxContainerResources
from cloche.wire.messages.cri.values import (
    DNSConfig,
    Int64Value,
    NamespaceOption,
    PortMapping,
    SecurityProfile,
    SELinuxOption,
)
from cloche.wire.protobuf import Message, boolean, enumeration, mapping, message, repeated, string, uint32
from cloche.wire.protobuf_values import INT64, STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "runtime.v1"


class LinuxSandboxSecurityContext(Message, package=_PACKAGE):
    """What the pod as a whole may do."""

    namespace_options: NamespaceOption | None = message(1, NamespaceOption)
    selinux_options: SELinuxOption | None = message(2, SELinuxOption)
    run_as_user: Int64Value | None = message(3, Int64Value)
    run_as_group: Int64Value | None = message(8, Int64Value)
    readonly_rootfs: bool = boolean(4)
    supplemental_groups: Sequence[int] = repeated(5, INT64)
    supplemental_groups_policy: int = enumeration(11)
    privileged: bool = boolean(6)
    seccomp: SecurityProfile | None = message(9, SecurityProfile)
    apparmor: SecurityProfile | None = message(10, SecurityProfile)
    seccomp_profile_path: str = string(7)


class LinuxPodSandboxConfig(Message, package=_PACKAGE):
    """What only Linux has of a pod."""

    cgroup_parent: str = string(1)
    security_context: LinuxSandboxSecurityContext | None = message(2, LinuxSandboxSecurityContext)
    sysctls: Mapping[str, str] = mapping(3, STRING, STRING)
    overhead: LinuxContainerResources | None = message(4, LinuxContainerResources)
    resources: LinuxContainerResources | None = message(5, LinuxContainerResources)


class PodSandboxMetadata(Message, package=_PACKAGE):
    """Which pod, as Kubernetes names it; attempt: how often it was made anew."""

    name: str = string(1)
    uid: str = string(2)
    namespace: str = string(3)
    attempt: int = uint32(4)


class PodSandboxConfig(Message, package=_PACKAGE):
    """All about a pod that is to be."""

    metadata: PodSandboxMetadata | None = message(1, PodSandboxMetadata)
    hostname: str = string(2)
    log_directory: str = string(3)
    dns_config: DNSConfig | None = message(4, DNSConfig)
    port_mappings: Sequence[PortMapping] = repeated(5, PortMapping)
    labels: Mapping[str, str] = mapping(6, STRING, STRING)
    annotations: Mapping[str, str] = mapping(7, STRING, STRING)
    linux: LinuxPodSandboxConfig | None = message(8, LinuxPodSandboxConfig)
