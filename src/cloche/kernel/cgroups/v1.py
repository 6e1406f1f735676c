"""linux.resources as writes to cgroup v1 files. Pure: nothing is read or written here.

Zero means "not set" for the limits where the runtime specification's users (Docker, containerd)
write it so: memory, shares, quota and period; swappiness, burst, idle and pids take zero as a value.
"""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.kernel.cgroups.files import Write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    Section = Mapping[str, Any]

_CPU = (
    ("shares", "cpu.shares"),
    ("period", "cpu.cfs_period_us"),
    ("quota", "cpu.cfs_quota_us"),
    ("realtimePeriod", "cpu.rt_period_us"),
    ("realtimeRuntime", "cpu.rt_runtime_us"),
)
_THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"),
)


def writes(resources: Section) -> Iterator[Write]:
    """Every cgroup v1 write that gives these limits, in the order that suits a new cgroup.

    resources: linux.resources of a valid config; `devices` is not for here (see devices.py), nor
        is `unified`, which has no meaning on v1.
    Raises InvalidArgument naming a value that v1 cannot have.
    """
    yield from _memory(resources.get("memory") or {})
    yield from _cpu(resources.get("cpu") or {})
    yield from pids(resources.get("pids") or {})
    yield from _block_io(resources.get("blockIO") or {})
    yield from _huge_pages(resources)
    yield from _network(resources.get("network") or {})
    yield from rdma(resources.get("rdma") or {})


def _memory(memory: Section) -> Iterator[Write]:
    limit, swap = memory.get("limit"), memory.get("swap")
    if limit:
        yield Write("memory", "memory.limit_in_bytes", str(limit), "memory.limit")
    if swap:
        yield Write("memory", "memory.memsw.limit_in_bytes", str(swap), "memory.swap")
    elif limit == -1:
        # No limit on memory means none on memory and swap together, or the old one would still hold.
        yield Write("memory", "memory.memsw.limit_in_bytes", "-1", "memory.limit", optional=True)
    if memory.get("reservation"):
        value = str(memory["reservation"])
        yield Write("memory", "memory.soft_limit_in_bytes", value, "memory.reservation")
    if memory.get("disableOOMKiller"):
        yield Write("memory", "memory.oom_control", "1", "memory.disableOOMKiller")
    swappiness = memory.get("swappiness")
    if swappiness is not None and swappiness != -1:
        if not 0 <= swappiness <= 100:
            raise InvalidArgument(f"linux.resources.memory.swappiness: {swappiness} is not within 0 to 100")
        yield Write("memory", "memory.swappiness", str(swappiness), "memory.swappiness")


def _cpu(cpu: Section) -> Iterator[Write]:
    shares = cpu.get("shares") or 1024
    if not 2 <= shares <= 262144:
        # The kernel would quietly take the nearest value.
        raise InvalidArgument(f"linux.resources.cpu.shares: {shares} is not within 2 to 262144")
    for key, file in _CPU:
        if cpu.get(key):
            yield Write("cpu", file, str(cpu[key]), f"cpu.{key}")
    if cpu.get("burst") is not None:
        yield Write("cpu", "cpu.cfs_burst_us", str(cpu["burst"]), "cpu.burst", optional=True)
    if cpu.get("idle") is not None:
        yield Write("cpu", "cpu.idle", str(cpu["idle"]), "cpu.idle")
    yield from cpuset(cpu)


def cpuset(cpu: Section) -> Iterator[Write]:
    """The CPUs and memory nodes: the same files in v1 and v2."""
    for key in ("cpus", "mems"):
        if cpu.get(key):
            yield Write("cpuset", f"cpuset.{key}", cpu[key], f"cpu.{key}")


def pids(section: Section) -> Iterator[Write]:
    """The number of tasks: the same file in v1 and v2.

    Zero is a limit since version 1.3 of the specification. It is written as one, as runc does: no
    fork succeeds with either, and systemd cannot hold a zero.
    """
    limit = section.get("limit")
    if limit is not None:
        yield Write("pids", "pids.max", str(max(limit, 1)) if limit >= 0 else "max", "pids.limit")


def _block_io(block: Section) -> Iterator[Write]:
    if block.get("weight"):
        yield _weight("weight", str(block["weight"]))
    if block.get("leafWeight"):
        yield Write("blkio", "blkio.leaf_weight", str(block["leafWeight"]), "blockIO.leafWeight")
    for item in block.get("weightDevice") or ():
        device = f"{item['major']}:{item['minor']}"
        if item.get("weight"):
            yield _weight("weight_device", f"{device} {item['weight']}")
        if item.get("leafWeight"):
            value = f"{device} {item['leafWeight']}"
            yield Write("blkio", "blkio.leaf_weight_device", value, "blockIO.weightDevice")
    for key, file in _THROTTLES:
        for item in block.get(key) or ():
            value = f"{item['major']}:{item['minor']} {item['rate']}"
            yield Write("blkio", file, value, f"blockIO.{key}")


def _weight(name: str, value: str) -> Write:
    """Weights belong to the disk scheduler: CFQ has the plain files, BFQ its own."""
    bfq = Write("blkio", f"blkio.bfq.{name}", value, f"blockIO.{name}")
    return Write("blkio", f"blkio.{name}", value, f"blockIO.{name}", otherwise=bfq)


def _huge_pages(resources: Section) -> Iterator[Write]:
    for item in resources.get("hugepageLimits") or ():
        for kind, optional in ((".", False), (".rsvd.", True)):
            file = f"hugetlb.{item['pageSize']}{kind}limit_in_bytes"
            yield Write("hugetlb", file, str(item["limit"]), "hugepageLimits", optional)


def _network(network: Section) -> Iterator[Write]:
    if network.get("classID"):
        yield Write("net_cls", "net_cls.classid", str(network["classID"]), "network.classID")
    for item in network.get("priorities") or ():
        value = f"{item['name']} {item['priority']}"
        yield Write("net_prio", "net_prio.ifpriomap", value, "network.priorities")


def rdma(section: Section) -> Iterator[Write]:
    """RDMA handles and objects of each device: the same file in v1 and v2."""
    for device, limits in section.items():
        words = [device]
        for key, name in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            if limits.get(key) is not None:
                words.append(f"{name}={limits[key]}")
        yield Write("rdma", "rdma.max", " ".join(words), f"rdma.{device}")
