"""linux.resources as writes to cgroup v2 files. Pure: nothing is read or written here.

The specification's words are those of v1. Where v2 counts otherwise they are converted as runc
converts them, so that a container gets the same share of a machine under either runtime.
"""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.kernel.cgroups.files import Write
from cloche.kernel.cgroups.v1 import cpuset, pids, rdma

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    Section = Mapping[str, Any]

DEFAULT_PERIOD_US = 100_000
_IO_LIMITS = (
    ("throttleReadBpsDevice", "rbps"),
    ("throttleWriteBpsDevice", "wbps"),
    ("throttleReadIOPSDevice", "riops"),
    ("throttleWriteIOPSDevice", "wiops"),
)


def writes(resources: Section) -> Iterator[Write]:
    """Every cgroup v2 write that gives these limits, in the order the kernel needs them.

    Raises InvalidArgument naming limits that contradict each other or that v2 cannot have.
    """
    yield from _memory(resources.get("memory") or {})
    yield from _cpu(resources.get("cpu") or {})
    yield from pids(resources.get("pids") or {})
    yield from _io(resources.get("blockIO") or {})
    yield from _huge_pages(resources)
    yield from rdma(resources.get("rdma") or {})
    # The user's own words go last: they overrule what was translated.
    yield from _unified(resources.get("unified") or {})


def _memory(memory: Section) -> Iterator[Write]:
    limit = memory.get("limit") or 0
    swap = swap_limit(limit, memory.get("swap") or 0)
    if swap is not None:
        # Without swap on the machine the file is missing, and nothing can be swapped anyway.
        yield Write("memory", "memory.swap.max", swap, "memory.swap", optional=swap in ("0", "max"))
    if limit:
        yield Write("memory", "memory.max", _or_max(limit), "memory.limit")
    if memory.get("reservation"):
        yield Write("memory", "memory.low", _or_max(memory["reservation"]), "memory.reservation")


def swap_limit(limit: int, swap: int) -> str | None:
    """memory.swap.max: the specification's `swap` is memory and swap together, v2's is swap alone.

    limit, swap: bytes, -1 for no limit, 0 for not set. None: nothing to write.
    """
    if swap == 0:
        return "max" if limit == -1 else None
    if swap == -1:
        return "max"
    if limit == -1:
        return str(swap)
    if limit == 0:
        raise InvalidArgument("linux.resources.memory.swap: needs memory.limit, which it includes")
    if swap < limit:
        raise InvalidArgument(
            f"linux.resources.memory.swap: {swap} is less than memory.limit ({limit}), which it includes"
        )
    return str(swap - limit)


def _or_max(value: int) -> str:
    return "max" if value == -1 else str(value)


def _cpu(cpu: Section) -> Iterator[Write]:
    if cpu.get("idle") is not None:
        yield Write("cpu", "cpu.idle", str(cpu["idle"]), "cpu.idle")
    if cpu.get("shares"):
        yield Write("cpu", "cpu.weight", str(cpu_weight(cpu["shares"])), "cpu.shares")
    quota, period = cpu.get("quota") or 0, cpu.get("period") or 0
    if quota or period:
        value = f"{quota if quota > 0 else 'max'} {period or DEFAULT_PERIOD_US}"
        yield Write("cpu", "cpu.max", value, "cpu.quota" if quota else "cpu.period")
    if cpu.get("burst") is not None:
        yield Write("cpu", "cpu.max.burst", str(cpu["burst"]), "cpu.burst")
    yield from cpuset(cpu)


def cpu_weight(shares: int) -> int:
    """cpu.weight (1 to 10000, default 100) for v1's shares (2 to 262144, default 1024).

    The exponent is the quadratic through those three pairs on logarithmic scales, which runc and
    crun agreed on; their first formula was linear and gave the default shares a weight of 39.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    import math

    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612.0 - 7.0 / 34.0))


def io_weight(weight: int) -> int:
    """io.weight (1 to 10000) for blkio's weight (10 to 1000), by a straight line."""
    return 1 + max(weight - 10, 0) * 9999 // 990


def _io(block: Section) -> Iterator[Write]:
    weight = block.get("weight")
    if weight:
        plain = Write("blkio", "io.weight", str(io_weight(weight)), "blockIO.weight")
        yield Write("blkio", "io.bfq.weight", str(weight), "blockIO.weight", otherwise=plain)
    for item in block.get("weightDevice") or ():
        if item.get("weight"):
            device = f"{item['major']}:{item['minor']}"
            value = f"{device} {io_weight(item['weight'])}"
            plain = Write("blkio", "io.weight", value, "blockIO.weightDevice")
            value = f"{device} {item['weight']}"
            yield Write("blkio", "io.bfq.weight", value, "blockIO.weightDevice", otherwise=plain)
    for key, name in _IO_LIMITS:
        for item in block.get(key) or ():
            value = f"{item['major']}:{item['minor']} {name}={item['rate']}"
            yield Write("blkio", "io.max", value, f"blockIO.{key}")


def _huge_pages(resources: Section) -> Iterator[Write]:
    for item in resources.get("hugepageLimits") or ():
        for kind, optional in ((".max", False), (".rsvd.max", True)):
            file = f"hugetlb.{item['pageSize']}{kind}"
            yield Write("hugetlb", file, str(item["limit"]), "hugepageLimits", optional)


def _unified(unified: Section) -> Iterator[Write]:
    for file, value in unified.items():
        controller, dot, _ = file.partition(".")
        if "/" in file or not dot:
            raise InvalidArgument(f"linux.resources.unified: {file!r} is not the name of a cgroup file")
        yield Write(controller, file, value, f"unified[{file}]")
