"""What a container uses, in the words of cgroup v2: `io.containerd.cgroups.v2`."""

from __future__ import annotations

from cloche.wire.protobuf import Message, double, message, repeated, string, uint32, uint64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGE = "io.containerd.cgroups.v2"


class PidsStat(Message, package=_PACKAGE):
    """Processes and threads."""

    current: int = uint64(1)
    limit: int = uint64(2)


class PSIData(Message, package=_PACKAGE):
    """Shares of time (percent) and its sum (µs) in which tasks had to wait."""

    avg10: float = double(1)
    avg60: float = double(2)
    avg300: float = double(3)
    total: int = uint64(4)


class PSIStats(Message, package=_PACKAGE):
    """Pressure: some tasks waited, or all did."""

    some: PSIData | None = message(1, PSIData)
    full: PSIData | None = message(2, PSIData)


class CPUStat(Message, package=_PACKAGE):
    """Processor time, in microseconds."""

    usage_usec: int = uint64(1)
    user_usec: int = uint64(2)
    system_usec: int = uint64(3)
    nr_periods: int = uint64(4)
    nr_throttled: int = uint64(5)
    throttled_usec: int = uint64(6)
    psi: PSIStats | None = message(7, PSIStats)
    nr_bursts: int = uint64(8)
    burst_usec: int = uint64(9)


class MemoryStat(Message, package=_PACKAGE):
    """Bytes, and counts of pages: memory.stat and what surrounds it."""

    anon: int = uint64(1)
    file: int = uint64(2)
    kernel_stack: int = uint64(3)
    slab: int = uint64(4)
    sock: int = uint64(5)
    shmem: int = uint64(6)
    file_mapped: int = uint64(7)
    file_dirty: int = uint64(8)
    file_writeback: int = uint64(9)
    anon_thp: int = uint64(10)
    inactive_anon: int = uint64(11)
    active_anon: int = uint64(12)
    inactive_file: int = uint64(13)
    active_file: int = uint64(14)
    unevictable: int = uint64(15)
    slab_reclaimable: int = uint64(16)
    slab_unreclaimable: int = uint64(17)
    pgfault: int = uint64(18)
    pgmajfault: int = uint64(19)
    workingset_refault: int = uint64(20)
    workingset_activate: int = uint64(21)
    workingset_nodereclaim: int = uint64(22)
    pgrefill: int = uint64(23)
    pgscan: int = uint64(24)
    pgsteal: int = uint64(25)
    pgactivate: int = uint64(26)
    pgdeactivate: int = uint64(27)
    pglazyfree: int = uint64(28)
    pglazyfreed: int = uint64(29)
    thp_fault_alloc: int = uint64(30)
    thp_collapse_alloc: int = uint64(31)
    usage: int = uint64(32)
    usage_limit: int = uint64(33)
    swap_usage: int = uint64(34)
    swap_limit: int = uint64(35)
    max_usage: int = uint64(36)
    swap_max_usage: int = uint64(37)
    psi: PSIStats | None = message(38, PSIStats)
    workingset_refault_anon: int = uint64(39)
    workingset_refault_file: int = uint64(40)
    workingset_activate_anon: int = uint64(41)
    workingset_activate_file: int = uint64(42)


class RdmaEntry(Message, package=_PACKAGE):
    """One remote memory device."""

    device: str = string(1)
    hca_handles: int = uint32(2)
    hca_objects: int = uint32(3)


class RdmaStat(Message, package=_PACKAGE):
    """Remote memory devices."""

    current: Sequence[RdmaEntry] = repeated(1, RdmaEntry)
    limit: Sequence[RdmaEntry] = repeated(2, RdmaEntry)


class IOEntry(Message, package=_PACKAGE):
    """Bytes and operations of one device."""

    major: int = uint64(1)
    minor: int = uint64(2)
    rbytes: int = uint64(3)
    wbytes: int = uint64(4)
    rios: int = uint64(5)
    wios: int = uint64(6)


class IOStat(Message, package=_PACKAGE):
    """Block devices."""

    usage: Sequence[IOEntry] = repeated(1, IOEntry)
    psi: PSIStats | None = message(2, PSIStats)


class HugeTlbStat(Message, package=_PACKAGE):
    """Bytes in huge pages of one size."""

    current: int = uint64(1)
    max: int = uint64(2)
    pagesize: str = string(3)
    failcnt: int = uint64(4)


class MemoryEvents(Message, package=_PACKAGE):
    """How often a limit was met."""

    low: int = uint64(1)
    high: int = uint64(2)
    max: int = uint64(3)
    oom: int = uint64(4)
    oom_kill: int = uint64(5)
    oom_group_kill: int = uint64(6)


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


class Metrics(Message, package=_PACKAGE):
    """All that a container uses, on cgroup2."""

    pids: PidsStat | None = message(1, PidsStat)
    cpu: CPUStat | None = message(2, CPUStat)
    memory: MemoryStat | None = message(4, MemoryStat)
    rdma: RdmaStat | None = message(5, RdmaStat)
    io: IOStat | None = message(6, IOStat)
    hugetlb: Sequence[HugeTlbStat] = repeated(7, HugeTlbStat)
    memory_events: MemoryEvents | None = message(8, MemoryEvents)
    network: Sequence[NetworkStat] = repeated(9, NetworkStat)
