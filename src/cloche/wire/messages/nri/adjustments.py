"""What plugins of NRI want changed: containers that are being made, limits of others, and who set what."""

from __future__ import annotations

from cloche.wire.messages.nri import containers, linux, values
from cloche.wire.messages.nri.resources import LinuxResources
from cloche.wire.messages.nri.values import PACKAGE
from cloche.wire.protobuf import Message, boolean, mapping, message, repeated, string
from cloche.wire.protobuf_values import INT32, STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FIELDS = (
    *("none", "annotation", "mount", "OCI hooks", "device", "CDI device", "environment variable", "args"),
    *("memory limit", "memory reservation", "memory swap limit", "kernel memory limit"),
    *("TCP memory limit", "memory swappiness", "memory disable_oom_killer", "memory use_hierarchy"),
    *("CPU shares", "CPU quota", "CPU period", "CPU realtime_runtime", "CPU realtime_period"),
    *("CPU cpus", "CPU mems", "pids limit", "hugepage limit", "blockio class", "RDT class"),
    *("unified cgroup parameter", "cgroups path", "oom_score_adj", "rlimit", "I/O priority"),
    *("seccomp policy", "namespace", "sysctl", "network device", "scheduler", "RDT clos_id"),
    *("RDT schemata", "RDT enable_monitoring", "memory policy"),
)
"""What a plugin can set, each at its number in the protocol."""


class LinuxContainerAdjustment(Message, package=PACKAGE):
    """Changes of what only Linux has."""

    devices: Sequence[linux.LinuxDevice] = repeated(1, linux.LinuxDevice)
    resources: LinuxResources | None = message(2, LinuxResources)
    cgroups_path: str = string(3)
    oom_score_adj: values.OptionalInt | None = message(4, values.OptionalInt)
    io_priority: linux.LinuxIOPriority | None = message(5, linux.LinuxIOPriority)
    seccomp_policy: linux.LinuxSeccomp | None = message(6, linux.LinuxSeccomp)
    namespaces: Sequence[linux.LinuxNamespace] = repeated(7, linux.LinuxNamespace)
    sysctl: Mapping[str, str] = mapping(8, STRING, STRING)
    net_devices: Mapping[str, linux.LinuxNetDevice] = mapping(9, STRING, linux.LinuxNetDevice)
    scheduler: linux.LinuxScheduler | None = message(10, linux.LinuxScheduler)
    rdt: linux.LinuxRdt | None = message(11, linux.LinuxRdt)
    memory_policy: linux.LinuxMemoryPolicy | None = message(12, linux.LinuxMemoryPolicy)


class ContainerAdjustment(Message, package=PACKAGE):
    """Changes of a container that is being made. A key, path or name that begins with "-" is removed.

    args: all of them; those of an earlier plugin are replaced where the first is "".
    """

    annotations: Mapping[str, str] = mapping(2, STRING, STRING)
    mounts: Sequence[containers.Mount] = repeated(3, containers.Mount)
    env: Sequence[values.KeyValue] = repeated(4, values.KeyValue)
    hooks: containers.Hooks | None = message(5, containers.Hooks)
    linux: LinuxContainerAdjustment | None = message(6, LinuxContainerAdjustment)
    rlimits: Sequence[containers.POSIXRlimit] = repeated(7, containers.POSIXRlimit)
    cdi_devices: Sequence[containers.CDIDevice] = repeated(8, containers.CDIDevice)
    args: Sequence[str] = repeated(9, STRING)


class LinuxContainerUpdate(Message, package=PACKAGE):
    """New limits."""

    resources: LinuxResources | None = message(1, LinuxResources)


class ContainerUpdate(Message, package=PACKAGE):
    """New limits of a container that is there. ignore_failure: whether it does not matter if they fail."""

    container_id: str = string(1)
    linux: LinuxContainerUpdate | None = message(2, LinuxContainerUpdate)
    ignore_failure: bool = boolean(3)


class ContainerEviction(Message, package=PACKAGE):
    """That a container is to be stopped."""

    container_id: str = string(1)
    reason: str = string(2)


class CompoundFieldOwners(Message, package=PACKAGE):
    """Plugins by the key of what they set."""

    owners: Mapping[str, str] = mapping(1, STRING, STRING)


class FieldOwners(Message, package=PACKAGE):
    """Who set what of one container, by the index of FIELDS; compound: of what has several entries."""

    simple: Mapping[int, str] = mapping(1, INT32, STRING)
    compound: Mapping[int, CompoundFieldOwners] = mapping(2, INT32, CompoundFieldOwners)


class OwningPlugins(Message, package=PACKAGE):
    """The same of several containers, by their ids."""

    owners: Mapping[str, FieldOwners] = mapping(1, STRING, FieldOwners)
