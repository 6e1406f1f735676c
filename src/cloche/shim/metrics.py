"""What a container uses, as containerd's clients read it: the metrics of cgroup v1 or of cgroup2."""

from __future__ import annotations

import os

from cloche.errors import NotFound
from cloche.kernel.cgroups.layout import UNIFIED
from cloche.kernel.cgroups.metrics import NO_LIMIT, parse_pairs, read_metrics
from cloche.wire.messages.google import Any
from cloche.wire.protobuf_values import MESSAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.kernel.cgroups.metrics import BlockIo, Memory, Metrics, Usage
    from cloche.wire.messages import metrics_v1, metrics_v2


def read(paths: Mapping[str, str]) -> Any:
    """The metrics of a cgroup. paths: its directories by controller; with any of v1 the answer is v1's.

    Raises NotFound where the cgroup is gone.
    """
    if not any(os.path.isdir(path) for path in paths.values()):
        raise NotFound("cgroup does not exist")
    found = read_metrics(paths)
    if set(paths) == {UNIFIED}:
        return Any.pack(_unified(found, paths[UNIFIED]))
    return Any.pack(_legacy(found))


def _legacy(found: Metrics) -> metrics_v1.Metrics:
    from cloche.wire.messages import metrics_v1 as v1

    metrics = v1.Metrics()
    if found.pids:
        metrics.pids = v1.PidsStat(current=found.pids.usage, limit=_finite(found.pids.limit))
    if found.cpu:
        cpu = found.cpu
        usage = v1.CPUUsage(
            total=cpu.total_ns, kernel=cpu.system_ns, user=cpu.user_ns, per_cpu=list(cpu.per_cpu_ns)
        )
        throttling = v1.Throttle(
            periods=cpu.periods, throttled_periods=cpu.throttled_periods, throttled_time=cpu.throttled_ns
        )
        metrics.cpu = v1.CPUStat(usage=usage, throttling=throttling)
    if found.memory:
        metrics.memory = _legacy_memory(found.memory)
        metrics.memory_oom_control = v1.MemoryOomControl(oom_kill=found.memory.oom_kills)
    metrics.hugetlb = [
        v1.HugetlbStat(usage=usage.usage, max=usage.peak, failcnt=usage.failures, pagesize=size)
        for size, usage in found.huge_pages.items()
    ]
    metrics.blkio = v1.BlkIOStat(
        io_service_bytes_recursive=_legacy_block_io(found, "bytes"),
        io_serviced_recursive=_legacy_block_io(found, "operations"),
    )
    return metrics


# What memory.stat calls otherwise than containerd.
_LEGACY_NAMES = {
    "pgpgin": "pg_pg_in",
    "pgpgout": "pg_pg_out",
    "pgfault": "pg_fault",
    "pgmajfault": "pg_maj_fault",
    "hierarchical_memsw_limit": "hierarchical_swap_limit",
}


def _legacy_memory(memory: Memory) -> metrics_v1.MemoryStat:
    from cloche.wire.messages import metrics_v1 as v1

    stat = v1.MemoryStat(usage=_entry(memory.memory), swap=_entry(memory.swap), kernel=_entry(memory.kernel))
    # `swap` is a line there, and something else here.
    known = {field.name for field in v1.MemoryStat.FIELDS if field.kind is not MESSAGE}
    for key, value in memory.stats.items():
        prefix = "total_" if key.startswith("total_") else ""
        bare = key.removeprefix("total_")
        name = prefix + _LEGACY_NAMES.get(bare, bare)
        if name in known:
            setattr(stat, name, value)
    return stat


def _entry(usage: Usage) -> metrics_v1.MemoryEntry:
    from cloche.wire.messages import metrics_v1 as v1

    return v1.MemoryEntry(limit=usage.limit, usage=usage.usage, max=usage.peak, failcnt=usage.failures)


def _legacy_block_io(found: Metrics, kind: str) -> list[metrics_v1.BlkIOEntry]:
    from cloche.wire.messages import metrics_v1 as v1

    return [
        v1.BlkIOEntry(op=io.op, device=_device(io), major=io.major, minor=io.minor, value=io.value)
        for io in found.block_io
        if io.kind == kind
    ]


def _device(io: BlockIo) -> str:
    try:
        return "/dev/" + os.path.basename(os.readlink(f"/sys/dev/block/{io.major}:{io.minor}"))
    except OSError:
        return ""


def _finite(limit: int) -> int:
    """No limit on processes is 0 there."""
    return 0 if limit == NO_LIMIT else limit


def _unified(found: Metrics, directory: str) -> metrics_v2.Metrics:
    from cloche.wire.messages import metrics_v2 as v2

    metrics = v2.Metrics()
    if found.pids:
        metrics.pids = v2.PidsStat(current=found.pids.usage, limit=found.pids.limit)
    metrics.cpu = _unified_cpu(directory)
    if found.memory:
        metrics.memory = _unified_memory(found.memory, directory)
        pairs = parse_pairs(_text(f"{directory}/memory.events"))
        names = {field.name for field in v2.MemoryEvents.FIELDS}
        metrics.memory_events = v2.MemoryEvents(**{k: n for k, n in pairs.items() if k in names})
    metrics.io = v2.IOStat(usage=_unified_io(found), psi=_pressure(f"{directory}/io.pressure"))
    metrics.hugetlb = [
        v2.HugeTlbStat(current=usage.usage, max=usage.limit, failcnt=usage.failures, pagesize=size)
        for size, usage in found.huge_pages.items()
    ]
    return metrics


def _unified_cpu(directory: str) -> metrics_v2.CPUStat:
    from cloche.wire.messages import metrics_v2 as v2

    names = {field.name for field in v2.CPUStat.FIELDS} - {"psi"}
    pairs = parse_pairs(_text(f"{directory}/cpu.stat"))
    stat = v2.CPUStat(**{name: value for name, value in pairs.items() if name in names})
    stat.psi = _pressure(f"{directory}/cpu.pressure")
    return stat


def _unified_memory(memory: Memory, directory: str) -> metrics_v2.MemoryStat:
    from cloche.wire.messages import metrics_v2 as v2

    computed = {"usage", "usage_limit", "swap_usage", "swap_limit", "max_usage", "swap_max_usage", "psi"}
    names = {field.name for field in v2.MemoryStat.FIELDS} - computed
    stat = v2.MemoryStat(**{name: value for name, value in memory.stats.items() if name in names})
    stat.usage, stat.usage_limit = memory.memory.usage, memory.memory.limit
    stat.max_usage = memory.memory.peak
    stat.swap_usage = _number(f"{directory}/memory.swap.current")
    stat.swap_limit = _number(f"{directory}/memory.swap.max")
    stat.swap_max_usage = _number(f"{directory}/memory.swap.peak")
    stat.psi = _pressure(f"{directory}/memory.pressure")
    return stat


def _unified_io(found: Metrics) -> list[metrics_v2.IOEntry]:
    from cloche.wire.messages import metrics_v2 as v2

    entries: dict[tuple[int, int], metrics_v2.IOEntry] = {}
    names = {("bytes", "Read"): "rbytes", ("bytes", "Write"): "wbytes"}
    names |= {("operations", "Read"): "rios", ("operations", "Write"): "wios"}
    for io in found.block_io:
        entry = entries.setdefault((io.major, io.minor), v2.IOEntry(major=io.major, minor=io.minor))
        if (name := names.get((io.kind, io.op))) is not None:
            setattr(entry, name, io.value)
    return list(entries.values())


def _pressure(path: str) -> metrics_v2.PSIStats | None:
    """A pressure file: `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`."""
    from cloche.wire.messages import metrics_v2 as v2

    lines = {}
    for line in _text(path).splitlines():
        kind, *words = line.split()
        if kind not in ("some", "full"):
            continue
        data = v2.PSIData()
        for word in words:
            name, _, value = word.partition("=")
            if name == "total":
                data.total = int(value)
            elif name in ("avg10", "avg60", "avg300"):
                setattr(data, name, float(value))
        lines[kind] = data
    return v2.PSIStats(**lines) if lines else None


def _text(path: str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.readall().decode()
    except OSError:
        # Not delegated, switched off, or gone meanwhile.
        return ""


def _number(path: str) -> int:
    text = _text(path).strip()
    return NO_LIMIT if text == "max" else int(text or 0)
