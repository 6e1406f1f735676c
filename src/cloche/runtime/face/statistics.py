"""The use of resources as the JSON of `events`, which containerd's and podman's callers read."""

from __future__ import annotations

from cloche.kernel.cgroups.files import read
from cloche.kernel.cgroups.layout import UNIFIED
from cloche.kernel.cgroups.metrics import Cpu, Memory, Usage, read_metrics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cloche.kernel.cgroups.metrics import Metrics

# Member of the JSON -> file of v1's cpuset.
_CPUSET = {
    "cpu_exclusive": "cpu_exclusive",
    "mem_hardwall": "mem_hardwall",
    "mem_exclusive": "mem_exclusive",
    "memory_migrate": "memory_migrate",
    "memory_spread_page": "memory_spread_page",
    "memory_spread_slab": "memory_spread_slab",
    "memory_pressure": "memory_pressure",
    "sched_load_balance": "sched_load_balance",
    "sched_relax_domain_level": "sched_relax_domain_level",
}


def statistics(paths: Mapping[str, str]) -> dict[str, Any]:
    """What a cgroup uses, in runc's names and order. paths: as Cgroup.paths."""
    metrics = read_metrics(paths)
    return {
        "cpu": _cpu(metrics.cpu or Cpu(), paths),
        "cpuset": _cpuset(paths),
        "memory": _memory(metrics.memory, paths),
        "pids": _present(current=metrics.pids.usage, limit=_limit(metrics.pids)) if metrics.pids else {},
        "blkio": _block_io(metrics, paths),
        "hugetlb": {
            size: _present(usage=each.usage, max=each.peak) | {"failcnt": each.failures}
            for size, each in sorted(metrics.huge_pages.items())
        },
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _present(**members: Any) -> dict[str, Any]:
    """The members that are not zero or empty: the others are left out."""
    return {name: value for name, value in members.items() if value}


def _limit(usage: Usage) -> int:
    """Of pids: no limit is told as zero."""
    return 0 if usage.limit >= (1 << 63) else usage.limit


def _cpu(cpu: Cpu, paths: Mapping[str, str]) -> dict[str, Any]:
    kernel, user = _per_cpu(paths)
    usage = _present(total=cpu.total_ns, percpu=list(cpu.per_cpu_ns), percpu_kernel=kernel, percpu_user=user)
    throttling = _present(
        periods=cpu.periods, throttledPeriods=cpu.throttled_periods, throttledTime=cpu.throttled_ns
    )
    usage |= {"kernel": cpu.system_ns, "user": cpu.user_ns}
    return {"usage": usage, "throttling": throttling} | _pressure(paths, "cpu")


def _per_cpu(paths: Mapping[str, str]) -> tuple[list[int], list[int]]:
    """Nanoseconds in the kernel and outside of it, of each CPU; v1 alone tells."""
    lines = _text(f"{paths.get('cpuacct', '')}/cpuacct.usage_all").splitlines()[1:]
    rows = [line.split() for line in lines]
    return [int(row[2]) for row in rows], [int(row[1]) for row in rows]


def _cpuset(paths: Mapping[str, str]) -> dict[str, Any]:
    directory = paths.get("cpuset") or paths.get(UNIFIED, "")
    numbers = {name: int(_text(f"{directory}/cpuset.{file}") or 0) for name, file in _CPUSET.items()}
    cpus, mems = numbers_of(_text(f"{directory}/cpuset.cpus")), numbers_of(_text(f"{directory}/cpuset.mems"))
    first = _present(cpus=cpus) | {"cpu_exclusive": numbers.pop("cpu_exclusive")}
    return first | _present(mems=mems) | numbers


def numbers_of(text: str) -> list[int]:
    """[0, 1, 2, 5] of `0-2,5`."""
    found: list[int] = []
    for part in text.split(",") if text.strip() else ():
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _memory(memory: Memory | None, paths: Mapping[str, str]) -> dict[str, Any]:
    none = Usage(limit=0)
    tcp = Usage(
        int(_text(f"{paths.get('memory', '')}/memory.kmem.tcp.usage_in_bytes") or 0),
        int(_text(f"{paths.get('memory', '')}/memory.kmem.tcp.max_usage_in_bytes") or 0),
        int(_text(f"{paths.get('memory', '')}/memory.kmem.tcp.limit_in_bytes") or 0),
        int(_text(f"{paths.get('memory', '')}/memory.kmem.tcp.failcnt") or 0),
    )
    parts = {
        "usage": memory.memory if memory else none,
        "swap": memory.swap if memory else none,
        "kernel": memory.kernel if memory else none,
        "kernelTCP": tcp,
    }
    entries = {
        name: {"limit": each.limit} | _present(usage=each.usage, max=each.peak) | {"failcnt": each.failures}
        for name, each in parts.items()
    }
    raw = dict(sorted(memory.stats.items())) if memory else {}
    cache = memory.cache if memory else 0
    return _present(cache=cache) | entries | _present(raw=raw) | _pressure(paths, "memory")


def _block_io(metrics: Metrics, paths: Mapping[str, str]) -> dict[str, Any]:
    kinds: dict[str, list[dict[str, Any]]] = {"bytes": [], "operations": []}
    for each in metrics.block_io:
        kinds[each.kind].append(_present(major=each.major, minor=each.minor, op=each.op, value=each.value))
    counters = _present(ioServiceBytesRecursive=kinds["bytes"], ioServicedRecursive=kinds["operations"])
    return counters | _pressure(paths, "io")


def _pressure(paths: Mapping[str, str], what: str) -> dict[str, Any]:
    """v2's pressure stall information: {} where there is none."""
    lines = _text(f"{paths[UNIFIED]}/{what}.pressure").splitlines() if UNIFIED in paths else []
    stalls = {}
    for line in lines:
        kind, *words = line.split()
        values = dict(word.split("=") for word in words)
        total = int(values.pop("total", "0"))
        stalls[kind] = {name: float(value) for name, value in values.items()} | {"total": total}
    return {"psi": stalls} if stalls else {}


def _text(path: str) -> str:
    try:
        return read(path)
    except OSError:
        # Not every kernel has every one of these.
        return ""
