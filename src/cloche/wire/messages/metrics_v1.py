"""What a container uses, in the words of cgroup v1: `io.containerd.cgroups.v1`."""

from __future__ import annotations

from cloche.wire.protobuf import Message, message, repeated, string, uint32, uint64
from cloche.wire.protobuf_values import UINT64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGE = "io.containerd.cgroups.v1"


class HugetlbStat(Message, package=_PACKAGE):
    """Bytes in huge pages of one size."""

    usage: int = uint64(1)
    max: int = uint64(2)
    failcnt: int = uint64(3)
    pagesize: str = string(4)


class PidsStat(Message, package=_PACKAGE):
    """Processes and threads."""

    current: int = uint64(1)
    limit: int = uint64(2)


class CPUUsage(Message, package=_PACKAGE):
    """Nanoseconds."""

    total: int = uint64(1)
    kernel: int = uint64(2)
    user: int = uint64(3)
    per_cpu: Sequence[int] = repeated(4, UINT64)


class Throttle(Message, package=_PACKAGE):
    """How often and how long (ns) the quota was used up."""

    periods: int = uint64(1)
    throttled_periods: int = uint64(2)
    throttled_time: int = uint64(3)


class CPUStat(Message, package=_PACKAGE):
    """Processor time."""

    usage: CPUUsage | None = message(1, CPUUsage)
    throttling: Throttle | None = message(2, Throttle)


class MemoryEntry(Message, package=_PACKAGE):
    """Bytes; failcnt: how often the limit was met."""

    limit: int = uint64(1)
    usage: int = uint64(2)
    max: int = uint64(3)
    failcnt: int = uint64(4)


class MemoryStat(Message, package=_PACKAGE):
    """Bytes, and counts of pages: memory.stat and what surrounds it."""

    cache: int = uint64(1)
    rss: int = uint64(2)
    rss_huge: int = uint64(3)
    mapped_file: int = uint64(4)
    dirty: int = uint64(5)
    writeback: int = uint64(6)
    pg_pg_in: int = uint64(7)
    pg_pg_out: int = uint64(8)
    pg_fault: int = uint64(9)
    pg_maj_fault: int = uint64(10)
    inactive_anon: int = uint64(11)
    active_anon: int = uint64(12)
    inactive_file: int = uint64(13)
    active_file: int = uint64(14)
    unevictable: int = uint64(15)
    hierarchical_memory_limit: int = uint64(16)
    hierarchical_swap_limit: int = uint64(17)
    total_cache: int = uint64(18)
    total_rss: int = uint64(19)
    total_rss_huge: int = uint64(20)
    total_mapped_file: int = uint64(21)
    total_dirty: int = uint64(22)
    total_writeback: int = uint64(23)
    total_pg_pg_in: int = uint64(24)
    total_pg_pg_out: int = uint64(25)
    total_pg_fault: int = uint64(26)
    total_pg_maj_fault: int = uint64(27)
    total_inactive_anon: int = uint64(28)
    total_active_anon: int = uint64(29)
    total_inactive_file: int = uint64(30)
    total_active_file: int = uint64(31)
    total_unevictable: int = uint64(32)
    usage: MemoryEntry | None = message(33, MemoryEntry)
    swap: MemoryEntry | None = message(34, MemoryEntry)
    kernel: MemoryEntry | None = message(35, MemoryEntry)
    kernel_tcp: MemoryEntry | None = message(36, MemoryEntry)


class BlkIOEntry(Message, package=_PACKAGE):
    """One counter of one device."""

    op: str = string(1)
    device: str = string(2)
    major: int = uint64(3)
    minor: int = uint64(4)
    value: int = uint64(5)


class BlkIOStat(Message, package=_PACKAGE):
    """Block devices."""

    io_service_bytes_recursive: Sequence[BlkIOEntry] = repeated(1, BlkIOEntry)
    io_serviced_recursive: Sequence[BlkIOEntry] = repeated(2, BlkIOEntry)
    io_queued_recursive: Sequence[BlkIOEntry] = repeated(3, BlkIOEntry)
    io_service_time_recursive: Sequence[BlkIOEntry] = repeated(4, BlkIOEntry)
    io_wait_time_recursive: Sequence[BlkIOEntry] = repeated(5, BlkIOEntry)
    io_merged_recursive: Sequence[BlkIOEntry] = repeated(6, BlkIOEntry)
    io_time_recursive: Sequence[BlkIOEntry] = repeated(7, BlkIOEntry)
    sectors_recursive: Sequence[BlkIOEntry] = repeated(8, BlkIOEntry)


class RdmaEntry(Message, package=_PACKAGE):
    """One remote memory device."""

    device: str = string(1)
    hca_handles: int = uint32(2)
    hca_objects: int = uint32(3)


class RdmaStat(Message, package=_PACKAGE):
    """Remote memory devices."""

    current: Sequence[RdmaEntry] = repeated(1, RdmaEntry)
    limit: Sequence[RdmaEntry] = repeated(2, RdmaEntry)


class NetworkStat(Message, package=_PACKAGE):
    """One network interface."""

    name: str = string(1)
    rx_bytes: int = uint64(2)
    rx_packets: int = uint64(3)
    rx_errors: int = uint64(4)
    rx_dropped: int = uint64(5)
    tx_bytes: int = uint64(6)
    tx_packets: int = uint64(7)
    tx_errors: int = uint64(8)
    tx_dropped: int = uint64(9)


class CgroupStats(Message, package=_PACKAGE):
    """Tasks by what they do."""

    nr_sleeping: int = uint64(1)
    nr_running: int = uint64(2)
    nr_stopped: int = uint64(3)
    nr_uninterruptible: int = uint64(4)
    nr_io_wait: int = uint64(5)


class MemoryOomControl(Message, package=_PACKAGE):
    """What happens, and happened, when memory runs out."""

    oom_kill_disable: int = uint64(1)
    under_oom: int = uint64(2)
    oom_kill: int = uint64(3)


class Metrics(Message, package=_PACKAGE):
    """All that a container uses, on cgroup v1."""

    hugetlb: Sequence[HugetlbStat] = repeated(1, HugetlbStat)
    pids: PidsStat | None = message(2, PidsStat)
    cpu: CPUStat | None = message(3, CPUStat)
    memory: MemoryStat | None = message(4, MemoryStat)
    blkio: BlkIOStat | None = message(5, BlkIOStat)
    rdma: RdmaStat | None = message(6, RdmaStat)
    network: Sequence[NetworkStat] = repeated(7, NetworkStat)
    cgroup_stats: CgroupStats | None = message(8, CgroupStats)
    memory_oom_control: MemoryOomControl | None = message(9, MemoryOomControl)
