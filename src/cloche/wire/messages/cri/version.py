"""The runtime as a whole: its version, health and configuration."""

from __future__ import annotations

from cloche.wire.protobuf import Message, boolean, enumeration, mapping, message, repeated, string
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "runtime.v1"

SYSTEMD, CGROUPFS = 0, 1
"""Who makes cgroups."""


class VersionRequest(Message, package=_PACKAGE):
    """Ask for the version. version: the asker's."""

    version: str = string(1)


class VersionResponse(Message, package=_PACKAGE):
    """Name and version of the runtime and of this API."""

    version: str = string(1)
    runtime_name: str = string(2)
    runtime_version: str = string(3)
    runtime_api_version: str = string(4)


class NetworkConfig(Message, package=_PACKAGE):
    """pod_cidr: the addresses that this node's pods may have."""

    pod_cidr: str = string(1)


class RuntimeConfig(Message, package=_PACKAGE):
    """What the kubelet decides for the runtime."""

    network_config: NetworkConfig | None = message(1, NetworkConfig)


class UpdateRuntimeConfigRequest(Message, package=_PACKAGE):
    """Change that."""

    runtime_config: RuntimeConfig | None = message(1, RuntimeConfig)


class UpdateRuntimeConfigResponse(Message, package=_PACKAGE):
    """It is changed."""


class RuntimeCondition(Message, package=_PACKAGE):
    """One condition, and why it does not hold."""

    type: str = string(1)
    status: bool = boolean(2)
    reason: str = string(3)
    message: str = string(4)


class RuntimeStatus(Message, package=_PACKAGE):
    """What must be so for pods to run."""

    conditions: Sequence[RuntimeCondition] = repeated(1, RuntimeCondition)


class StatusRequest(Message, package=_PACKAGE):
    """Ask how the runtime is."""

    verbose: bool = boolean(1)


class RuntimeHandlerFeatures(Message, package=_PACKAGE):
    """What a handler can do."""

    recursive_read_only_mounts: bool = boolean(1)
    user_namespaces: bool = boolean(2)


class RuntimeHandler(Message, package=_PACKAGE):
    """A way to run pods, which a RuntimeClass names; the default one has no name."""

    name: str = string(1)
    features: RuntimeHandlerFeatures | None = message(2, RuntimeHandlerFeatures)


class RuntimeFeatures(Message, package=_PACKAGE):
    """What the runtime can do whatever the handler."""

    supplemental_groups_policy: bool = boolean(1)
    user_namespaces_host_network: bool = boolean(2)
    mount_options: bool = boolean(3)


class StatusResponse(Message, package=_PACKAGE):
    """How it is, and what it can do."""

    status: RuntimeStatus | None = message(1, RuntimeStatus)
    info: Mapping[str, str] = mapping(2, STRING, STRING)
    runtime_handlers: Sequence[RuntimeHandler] = repeated(3, RuntimeHandler)
    features: RuntimeFeatures | None = message(4, RuntimeFeatures)


class RuntimeConfigRequest(Message, package=_PACKAGE):
    """Ask what the kubelet has to agree with."""


class LinuxRuntimeConfiguration(Message, package=_PACKAGE):
    """Who makes cgroups."""

    cgroup_driver: int = enumeration(1)


class RuntimeConfigResponse(Message, package=_PACKAGE):
    """What that is."""

    linux: LinuxRuntimeConfiguration | None = message(1, LinuxRuntimeConfiguration)
