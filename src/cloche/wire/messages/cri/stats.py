"""What pods and containers use."""

from __future__ import annotations

from cloche.wire.messages.cri.containers import ContainerMetadata
from cloche.wire.messages.cri.pod_config import PodSandboxMetadata
from cloche.wire.messages.cri.values import FilesystemUsage, UInt64Value
from cloche.wire.protobuf import Message, double, int64, mapping, message, repeated, string, uint64
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "runtime.v1"


class PodSandboxStatsRequest(Message, package=_PACKAGE):
    """Ask what a pod uses."""

    pod_sandbox_id: str = string(1)


class PodSandboxAttributes(Message, package=_PACKAGE):
    """Which pod."""

    id: str = string(1)
    metadata: PodSandboxMetadata | None = message(2, PodSandboxMetadata)
    labels: Mapping[str, str] = mapping(3, STRING, STRING)
    annotations: Mapping[str, str] = mapping(4, STRING, STRING)


class PsiData(Message, package=_PACKAGE):
    """Shares of time (percent) and its sum (µs) in which tasks had to wait."""

    total: int = uint64(1)
    avg10: float = double(2)
    avg60: float = double(3)
    avg300: float = double(4)


class PsiStats(Message, package=_PACKAGE):
    """Pressure: some tasks waited, or all did."""

    full: PsiData | None = message(1, PsiData)
    some: PsiData | None = message(2, PsiData)


class CpuUsage(Message, package=_PACKAGE):
    """Processor time. Timestamps here and below in ns since 1970."""

    timestamp: int = int64(1)
    usage_core_nano_seconds: UInt64Value | None = message(2, UInt64Value)
    usage_nano_cores: UInt64Value | None = message(3, UInt64Value)
    psi: PsiStats | None = message(4, PsiStats)


class MemoryUsage(Message, package=_PACKAGE):
    """Memory, in bytes."""

    timestamp: int = int64(1)
    working_set_bytes: UInt64Value | None = message(2, UInt64Value)
    available_bytes: UInt64Value | None = message(3, UInt64Value)
    usage_bytes: UInt64Value | None = message(4, UInt64Value)
    rss_bytes: UInt64Value | None = message(5, UInt64Value)
    page_faults: UInt64Value | None = message(6, UInt64Value)
    major_page_faults: UInt64Value | None = message(7, UInt64Value)
    psi: PsiStats | None = message(8, PsiStats)


class NetworkInterfaceUsage(Message, package=_PACKAGE):
    """What went over one interface."""

    name: str = string(1)
    rx_bytes: UInt64Value | None = message(2, UInt64Value)
    rx_errors: UInt64Value | None = message(3, UInt64Value)
    tx_bytes: UInt64Value | None = message(4, UInt64Value)
    tx_errors: UInt64Value | None = message(5, UInt64Value)


class NetworkUsage(Message, package=_PACKAGE):
    """What went over a pod's interfaces."""

    timestamp: int = int64(1)
    default_interface: NetworkInterfaceUsage | None = message(2, NetworkInterfaceUsage)
    interfaces: Sequence[NetworkInterfaceUsage] = repeated(3, NetworkInterfaceUsage)


class ProcessUsage(Message, package=_PACKAGE):
    """How many processes."""

    timestamp: int = int64(1)
    process_count: UInt64Value | None = message(2, UInt64Value)


class ContainerAttributes(Message, package=_PACKAGE):
    """Which container."""

    id: str = string(1)
    metadata: ContainerMetadata | None = message(2, ContainerMetadata)
    labels: Mapping[str, str] = mapping(3, STRING, STRING)
    annotations: Mapping[str, str] = mapping(4, STRING, STRING)


class SwapUsage(Message, package=_PACKAGE):
    """Swap, in bytes."""

    timestamp: int = int64(1)
    swap_available_bytes: UInt64Value | None = message(2, UInt64Value)
    swap_usage_bytes: UInt64Value | None = message(3, UInt64Value)


class IoUsage(Message, package=_PACKAGE):
    """Pressure of input and output."""

    timestamp: int = int64(1)
    psi: PsiStats | None = message(2, PsiStats)


class ContainerStats(Message, package=_PACKAGE):
    """What one container uses."""

    attributes: ContainerAttributes | None = message(1, ContainerAttributes)
    cpu: CpuUsage | None = message(2, CpuUsage)
    memory: MemoryUsage | None = message(3, MemoryUsage)
    writable_layer: FilesystemUsage | None = message(4, FilesystemUsage)
    swap: SwapUsage | None = message(5, SwapUsage)
    io: IoUsage | None = message(6, IoUsage)


class LinuxPodSandboxStats(Message, package=_PACKAGE):
    """What a pod uses, on Linux."""

    cpu: CpuUsage | None = message(1, CpuUsage)
    memory: MemoryUsage | None = message(2, MemoryUsage)
    network: NetworkUsage | None = message(3, NetworkUsage)
    process: ProcessUsage | None = message(4, ProcessUsage)
    containers: Sequence[ContainerStats] = repeated(5, ContainerStats)
    io: IoUsage | None = message(6, IoUsage)


class PodSandboxStats(Message, package=_PACKAGE):
    """What one pod uses."""

    attributes: PodSandboxAttributes | None = message(1, PodSandboxAttributes)
    linux: LinuxPodSandboxStats | None = message(2, LinuxPodSandboxStats)


class PodSandboxStatsResponse(Message, package=_PACKAGE):
    """What it uses."""

    stats: PodSandboxStats | None = message(1, PodSandboxStats)


class PodSandboxStatsFilter(Message, package=_PACKAGE):
    """Which pods."""

    id: str = string(1)
    label_selector: Mapping[str, str] = mapping(2, STRING, STRING)


class ListPodSandboxStatsRequest(Message, package=_PACKAGE):
    """Ask what pods use."""

    filter: PodSandboxStatsFilter | None = message(1, PodSandboxStatsFilter)


class ListPodSandboxStatsResponse(Message, package=_PACKAGE):
    """What they use."""

    stats: Sequence[PodSandboxStats] = repeated(1, PodSandboxStats)


class StreamPodSandboxStatsRequest(Message, package=_PACKAGE):
    """Ask what pods use, in several answers."""

    filter: PodSandboxStatsFilter | None = message(1, PodSandboxStatsFilter)


class StreamPodSandboxStatsResponse(Message, package=_PACKAGE):
    """Some of it."""

    pod_sandbox_stats: Sequence[PodSandboxStats] = repeated(1, PodSandboxStats)


class ContainerStatsRequest(Message, package=_PACKAGE):
    """Ask what a container uses."""

    container_id: str = string(1)


class ContainerStatsResponse(Message, package=_PACKAGE):
    """What it uses."""

    stats: ContainerStats | None = message(1, ContainerStats)


class ContainerStatsFilter(Message, package=_PACKAGE):
    """Which containers."""

    id: str = string(1)
    pod_sandbox_id: str = string(2)
    label_selector: Mapping[str, str] = mapping(3, STRING, STRING)


class ListContainerStatsRequest(Message, package=_PACKAGE):
    """Ask what containers use."""

    filter: ContainerStatsFilter | None = message(1, ContainerStatsFilter)


class ListContainerStatsResponse(Message, package=_PACKAGE):
    """What they use."""

    stats: Sequence[ContainerStats] = repeated(1, ContainerStats)


class StreamContainerStatsRequest(Message, package=_PACKAGE):
    """Ask what containers use, in several answers."""

    filter: ContainerStatsFilter | None = message(1, ContainerStatsFilter)


class StreamContainerStatsResponse(Message, package=_PACKAGE):
    """Some of it."""

    container_stats: Sequence[ContainerStats] = repeated(1, ContainerStats)
