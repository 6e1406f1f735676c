"""What the processes of a cgroup use: one shape for v1 and v2."""

from __future__ import annotations

import os

from cloche.kernel.cgroups.files import read
from cloche.kernel.cgroups.layout import UNIFIED
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NO_LIMIT = (1 << 64) - 1
"""How the absence of a limit is reported."""


class Usage(Record):
    """How much of something is used, at most was used (0: unknown), may be used, and was refused."""

    usage: int = 0
    peak: int = 0
    limit: int = NO_LIMIT
    failures: int = 0


class Memory(Record):
    """Bytes. swap: memory and swap together, as v1 counts; stats: the lines of memory.stat.

    cache: file pages; inactive_file: those the kernel could drop at once (what `docker stats` leaves out).
    """

    memory: Usage
    swap: Usage
    kernel: Usage
    stats: Mapping[str, int]
    cache: int
    inactive_file: int
    oom_kills: int


class Cpu(Record):
    """Nanoseconds, since the cgroup was made."""

    total_ns: int = 0
    user_ns: int = 0
    system_ns: int = 0
    per_cpu_ns: tuple[int, ...] = ()
    periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0


class BlockIo(Record):
    """One counter of one device: op is `Read`, `Write`, `Discard`, ….

    kind: `bytes` or `operations`.
    """

    kind: str
    major: int
    minor: int
    op: str
    value: int


class Metrics(Record):
    """All there is to know; None or empty where the controller is missing."""

    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Usage | None = None
    block_io: tuple[BlockIo, ...] = ()
    huge_pages: Mapping[str, Usage] = {}


def read_metrics(paths: Mapping[str, str]) -> Metrics:
    """The metrics of a cgroup, each part from the hierarchy that has its controller."""
    unified = paths.get(UNIFIED)
    return Metrics(
        memory=_memory_v1(paths["memory"]) if "memory" in paths else _memory_v2(unified),
        cpu=_cpu_v1(paths) if "cpuacct" in paths else _cpu_v2(unified),
        pids=_pids(paths.get("pids") or unified),
        block_io=_block_io_v1(paths["blkio"]) if "blkio" in paths else _block_io_v2(unified),
        huge_pages=_huge_pages(paths.get("hugetlb"), unified),
    )


def read_briefly(paths: Mapping[str, str]) -> Metrics:
    """What is asked of many cgroups at a time: memory and its limits, and processor time.

    A file takes about ten microseconds, and `read_metrics` reads thirty of them on v1.
    """
    unified = paths.get(UNIFIED)
    return Metrics(
        memory=_brief_memory_v1(paths["memory"]) if "memory" in paths else _memory_v2(unified),
        cpu=_brief_cpu_v1(paths["cpuacct"]) if "cpuacct" in paths else _cpu_v2(unified),
    )


def processes(paths: Mapping[str, str]) -> int:
    """How many processes and threads there are, those of cgroups below too; 0 where nobody counts."""
    return _number(f"{paths.get('pids') or paths.get(UNIFIED, '')}/pids.current")


def _brief_cpu_v1(directory: str) -> Cpu | None:
    try:
        return Cpu(int(read(f"{directory}/cpuacct.usage")))
    except FileNotFoundError:
        return None


def _brief_memory_v1(directory: str) -> Memory | None:
    stats = _pairs(f"{directory}/memory.stat")
    if not stats:
        return None
    memory, swap = (
        Usage(
            _number(f"{directory}/{prefix}.usage_in_bytes"),
            limit=_number(f"{directory}/{prefix}.limit_in_bytes", NO_LIMIT),
        )
        for prefix in ("memory", "memory.memsw")
    )
    return Memory(
        memory, swap, Usage(), stats, stats.get("total_cache", 0), stats.get("total_inactive_file", 0), 0
    )


def oom_kills(paths: Mapping[str, str]) -> int:
    """How many processes were killed for want of memory; 0 where nobody counts."""
    if "memory" in paths:
        return _pairs(f"{paths['memory']}/memory.oom_control").get("oom_kill", 0)
    return _pairs(f"{paths.get(UNIFIED, '')}/memory.events").get("oom_kill", 0)


def parse_pairs(text: str) -> dict[str, int]:
    """`key value` lines; what is not such a line is left out."""
    pairs = {}
    for line in text.splitlines():
        key, _, value = line.rpartition(" ")
        if key and value.isdecimal():
            pairs[key] = int(value)
    return pairs


def _pairs(path: str) -> dict[str, int]:
    try:
        return parse_pairs(read(path))
    except FileNotFoundError:
        return {}


def _number(path: str, missing: int = 0) -> int:
    try:
        text = read(path)
    except FileNotFoundError:
        return missing
    return NO_LIMIT if text == "max" else int(text)


def _usage_v1(directory: str, prefix: str) -> Usage:
    return Usage(
        _number(f"{directory}/{prefix}.usage_in_bytes"),
        _number(f"{directory}/{prefix}.max_usage_in_bytes"),
        _number(f"{directory}/{prefix}.limit_in_bytes", NO_LIMIT),
        _number(f"{directory}/{prefix}.failcnt"),
    )


def _memory_v1(directory: str) -> Memory | None:
    stats = _pairs(f"{directory}/memory.stat")
    if not stats:
        return None
    return Memory(
        _usage_v1(directory, "memory"),
        _usage_v1(directory, "memory.memsw"),
        _usage_v1(directory, "memory.kmem"),
        stats,
        stats.get("total_cache", 0),
        stats.get("total_inactive_file", 0),
        _pairs(f"{directory}/memory.oom_control").get("oom_kill", 0),
    )


def _memory_v2(directory: str | None) -> Memory | None:
    stats = _pairs(f"{directory}/memory.stat") if directory else {}
    if not stats:
        return None
    events = _pairs(f"{directory}/memory.events")
    memory = Usage(
        _number(f"{directory}/memory.current"),
        _number(f"{directory}/memory.peak"),
        _number(f"{directory}/memory.max", NO_LIMIT),
        events.get("max", 0),
    )
    swap_limit = _number(f"{directory}/memory.swap.max", NO_LIMIT)
    swap = Usage(
        memory.usage + _number(f"{directory}/memory.swap.current"),
        0,
        NO_LIMIT if NO_LIMIT in (swap_limit, memory.limit) else memory.limit + swap_limit,
        0,
    )
    kernel = Usage(stats.get("kernel", 0))
    cache, inactive = stats.get("file", 0), stats.get("inactive_file", 0)
    return Memory(memory, swap, kernel, stats, cache, inactive, events.get("oom_kill", 0))


def _cpu_v1(paths: Mapping[str, str]) -> Cpu | None:
    directory = paths["cpuacct"]
    if not os.path.isdir(directory):
        return None
    throttling = _pairs(f"{paths['cpu']}/cpu.stat") if "cpu" in paths else {}
    try:
        per_cpu = tuple(int(word) for word in read(f"{directory}/cpuacct.usage_percpu").split())
    except FileNotFoundError:
        per_cpu = ()
    return Cpu(
        _number(f"{directory}/cpuacct.usage"),
        _number(f"{directory}/cpuacct.usage_user"),
        _number(f"{directory}/cpuacct.usage_sys"),
        per_cpu,
        throttling.get("nr_periods", 0),
        throttling.get("nr_throttled", 0),
        throttling.get("throttled_time", 0),
    )


def _cpu_v2(directory: str | None) -> Cpu | None:
    stat = _pairs(f"{directory}/cpu.stat") if directory else {}
    if not stat:
        return None
    return Cpu(
        stat.get("usage_usec", 0) * 1000,
        stat.get("user_usec", 0) * 1000,
        stat.get("system_usec", 0) * 1000,
        (),
        stat.get("nr_periods", 0),
        stat.get("nr_throttled", 0),
        stat.get("throttled_usec", 0) * 1000,
    )


def _pids(directory: str | None) -> Usage | None:
    if directory is None or not os.path.exists(f"{directory}/pids.current"):
        return None
    return Usage(
        _number(f"{directory}/pids.current"),
        _number(f"{directory}/pids.peak"),
        _number(f"{directory}/pids.max", NO_LIMIT),
        _pairs(f"{directory}/pids.events").get("max", 0),
    )


def parse_blkio(text: str, kind: str) -> list[BlockIo]:
    """A v1 blkio counter file: `8:0 Read 4096` a line, with totals at the end, which are left out."""
    counters = []
    for line in text.splitlines():
        words = line.split()
        major, colon, minor = words[0].partition(":") if words else ("", "", "")
        if len(words) == 3 and colon:
            counters.append(BlockIo(kind, int(major), int(minor), words[1], int(words[2])))
    return counters


def parse_io_stat(text: str) -> list[BlockIo]:
    """v2's io.stat: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0` a line."""
    names = {"r": "Read", "w": "Write", "d": "Discard"}
    kinds = {"bytes": "bytes", "ios": "operations"}
    counters = []
    for line in text.splitlines():
        device, *words = line.split()
        major, _, minor = device.partition(":")
        for word in words:
            key, _, value = word.partition("=")
            if key[:1] in names and key[1:] in kinds:
                counters.append(BlockIo(kinds[key[1:]], int(major), int(minor), names[key[0]], int(value)))
    return counters


def _block_io_v1(directory: str) -> tuple[BlockIo, ...]:
    found: list[BlockIo] = []
    for kind, name in (("bytes", "io_service_bytes"), ("operations", "io_serviced")):
        for prefix in ("blkio.bfq.", "blkio.", "blkio.throttle."):
            counters = _block_io_file(f"{directory}/{prefix}{name}_recursive", kind)
            counters = counters or _block_io_file(f"{directory}/{prefix}{name}", kind)
            if counters:
                found += counters
                break
    return tuple(found)


def _block_io_file(path: str, kind: str) -> list[BlockIo]:
    try:
        return parse_blkio(read(path), kind)
    except FileNotFoundError:
        return []


def _block_io_v2(directory: str | None) -> tuple[BlockIo, ...]:
    try:
        return tuple(parse_io_stat(read(f"{directory}/io.stat"))) if directory else ()
    except FileNotFoundError:
        return ()


def _huge_pages(legacy: str | None, unified: str | None) -> dict[str, Usage]:
    """Usage by page size (`2MB`)."""
    found: dict[str, Usage] = {}
    directory = legacy or unified
    suffix = ".usage_in_bytes" if legacy else ".current"
    try:
        names = os.listdir(directory) if directory else []
    except FileNotFoundError:
        return {}
    for name in names:
        if name.startswith("hugetlb.") and name.endswith(suffix) and ".rsvd." not in name:
            prefix = f"{directory}/{name[: -len(suffix)]}"
            if legacy:
                found[name[8 : -len(suffix)]] = _usage_v1(os.path.dirname(prefix), os.path.basename(prefix))
            else:
                usage = Usage(_number(f"{prefix}.current"), 0, _number(f"{prefix}.max", NO_LIMIT))
                found[name[8 : -len(suffix)]] = usage
    return found
