"""What plugins of NRI are told of pods and containers."""

from __future__ import annotations

from cloche.wire.messages.nri import linux, values
from cloche.wire.messages.nri.resources import LinuxResources
from cloche.wire.messages.nri.values import PACKAGE
from cloche.wire.protobuf import (
    Message,
    enumeration,
    int32,
    int64,
    mapping,
    message,
    repeated,
    string,
    uint32,
    uint64,
)
from cloche.wire.protobuf_values import STRING, UINT32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

UNKNOWN, CREATED, PAUSED, RUNNING, STOPPED = range(5)
"""States of a container."""


class LinuxPodSandbox(Message, package=PACKAGE):
    """A pod on Linux."""

    pod_overhead: LinuxResources | None = message(1, LinuxResources)
    pod_resources: LinuxResources | None = message(2, LinuxResources)
    cgroup_parent: str = string(3)
    cgroups_path: str = string(4)
    namespaces: Sequence[linux.LinuxNamespace] = repeated(5, linux.LinuxNamespace)
    resources: LinuxResources | None = message(6, LinuxResources)


class PodSandbox(Message, package=PACKAGE):
    """A pod. pid: of the process that holds its namespaces."""

    id: str = string(1)
    name: str = string(2)
    uid: str = string(3)
    namespace: str = string(4)
    labels: Mapping[str, str] = mapping(5, STRING, STRING)
    annotations: Mapping[str, str] = mapping(6, STRING, STRING)
    runtime_handler: str = string(7)
    linux: LinuxPodSandbox | None = message(8, LinuxPodSandbox)
    pid: int = uint32(9)
    ips: Sequence[str] = repeated(10, STRING)


class Mount(Message, package=PACKAGE):
    """A mount, as config.json has it."""

    destination: str = string(1)
    type: str = string(2)
    source: str = string(3)
    options: Sequence[str] = repeated(4, STRING)


class Hook(Message, package=PACKAGE):
    """A program run at a point of the life cycle. timeout: in seconds."""

    path: str = string(1)
    args: Sequence[str] = repeated(2, STRING)
    env: Sequence[str] = repeated(3, STRING)
    timeout: values.OptionalInt | None = message(4, values.OptionalInt)


class Hooks(Message, package=PACKAGE):
    """All hooks."""

    prestart: Sequence[Hook] = repeated(1, Hook)
    create_runtime: Sequence[Hook] = repeated(2, Hook)
    create_container: Sequence[Hook] = repeated(3, Hook)
    start_container: Sequence[Hook] = repeated(4, Hook)
    poststart: Sequence[Hook] = repeated(5, Hook)
    poststop: Sequence[Hook] = repeated(6, Hook)


class POSIXRlimit(Message, package=PACKAGE):
    """A limit of setrlimit(2). type: such as RLIMIT_NOFILE."""

    type: str = string(1)
    hard: int = uint64(2)
    soft: int = uint64(3)


class CDIDevice(Message, package=PACKAGE):
    """A device of the Container Device Interface. name: VENDOR/CLASS=NAME."""

    name: str = string(1)


class User(Message, package=PACKAGE):
    """Who a process runs as."""

    uid: int = uint32(1)
    gid: int = uint32(2)
    additional_gids: Sequence[int] = repeated(3, UINT32)


class Image(Message, package=PACKAGE):
    """A container's image. digest: of its index or manifest; config_digest: of its configuration."""

    name: str = string(1)
    digest: str = string(2)
    config_digest: str = string(3)


class LinuxContainer(Message, package=PACKAGE):
    """A container on Linux."""

    namespaces: Sequence[linux.LinuxNamespace] = repeated(1, linux.LinuxNamespace)
    devices: Sequence[linux.LinuxDevice] = repeated(2, linux.LinuxDevice)
    resources: LinuxResources | None = message(3, LinuxResources)
    oom_score_adj: values.OptionalInt | None = message(4, values.OptionalInt)
    cgroups_path: str = string(5)
    io_priority: linux.LinuxIOPriority | None = message(6, linux.LinuxIOPriority)
    seccomp_profile: linux.SecurityProfile | None = message(7, linux.SecurityProfile)
    seccomp_policy: linux.LinuxSeccomp | None = message(8, linux.LinuxSeccomp)
    sysctl: Mapping[str, str] = mapping(9, STRING, STRING)
    net_devices: Mapping[str, linux.LinuxNetDevice] = mapping(10, STRING, linux.LinuxNetDevice)
    scheduler: linux.LinuxScheduler | None = message(11, linux.LinuxScheduler)
    rdt: linux.LinuxRdt | None = message(12, linux.LinuxRdt)


class Container(Message, package=PACKAGE):
    """A container. Times in ns since 1970, 0 for not yet."""

    id: str = string(1)
    pod_sandbox_id: str = string(2)
    name: str = string(3)
    state: int = enumeration(4)
    labels: Mapping[str, str] = mapping(5, STRING, STRING)
    annotations: Mapping[str, str] = mapping(6, STRING, STRING)
    args: Sequence[str] = repeated(7, STRING)
    env: Sequence[str] = repeated(8, STRING)
    mounts: Sequence[Mount] = repeated(9, Mount)
    hooks: Hooks | None = message(10, Hooks)
    linux: LinuxContainer | None = message(11, LinuxContainer)
    pid: int = uint32(12)
    rlimits: Sequence[POSIXRlimit] = repeated(13, POSIXRlimit)
    created_at: int = int64(14)
    started_at: int = int64(15)
    finished_at: int = int64(16)
    exit_code: int = int32(17)
    status_reason: str = string(18)
    status_message: str = string(19)
    cdi_devices: Sequence[CDIDevice] = repeated(20, CDIDevice)
    user: User | None = message(21, User)
    image: Image | None = message(22, Image)
