"""The part of a plan about the process's share of the machine beyond cgroups: scheduler, I/O, memory."""

from __future__ import annotations

from _struct import pack

from cloche.errors import InvalidArgument
from cloche.runtime import operations as op
from cloche.runtime.plan import STAGE_ONE, STAGE_TWO, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloche.spec.config import Config, Process

_POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
_SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
MEMORY_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}
_PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}
_LAST_PROCESSOR = 1 << 16


def _number(table: dict[str, int], word: str, place: str) -> int:
    if word not in table:
        raise InvalidArgument(f"config.json: {place}: unknown {word!r}: one of {', '.join(table)}")
    return table[word]


def scheduled(process: Process) -> Iterator[Step]:
    """process.scheduler and process.ioPriority, while we may still raise them."""
    if scheduler := process.get("scheduler"):
        place = "process.scheduler"
        flags = 0
        for word in scheduler.get("flags", ()):
            flags |= _number(_SCHEDULER_FLAGS, word, f"{place}.flags")
        attributes = pack(
            "=IIQiI3Q2I",
            56,
            _number(_POLICIES, scheduler.get("policy", ""), f"{place}.policy"),
            flags,
            scheduler.get("nice", 0),
            scheduler.get("priority", 0),
            scheduler.get("runtime", 0),
            scheduler.get("deadline", 0),
            scheduler.get("period", 0),
            0,
            0,
        )
        yield Step(place, STAGE_TWO, op.SetScheduler(attributes))
    if priority := process.get("ioPriority"):
        place = "process.ioPriority"
        kind = _number(_IO_CLASSES, priority["class"], f"{place}.class")
        level = priority.get("priority", 0)
        if not 0 <= level <= 7:
            raise InvalidArgument(f"config.json: {place}.priority: {level} is not from 0 to 7")
        yield Step(place, STAGE_TWO, op.SetIoPriority(kind << 13 | level))


def persona(config: Config) -> Iterator[Step]:
    """linux.personality."""
    if wanted := config.get("linux", {}).get("personality"):
        place = "linux.personality"
        if wanted.get("flags"):
            raise InvalidArgument(f"config.json: {place}.flags: none is defined by the specification")
        domain = _number(_PERSONALITIES, wanted.get("domain", ""), f"{place}.domain")
        yield Step(place, STAGE_TWO, op.SetPersonality(domain))


def memory_policy(config: Config) -> Iterator[Step]:
    """linux.memoryPolicy."""
    if policy := config.get("linux", {}).get("memoryPolicy"):
        place = "linux.memoryPolicy"
        mode = _number(MEMORY_MODES, policy.get("mode", ""), f"{place}.mode")
        for word in policy.get("flags", ()):
            mode |= _number(MEMORY_FLAGS, word, f"{place}.flags")
        nodes = bit_mask(policy.get("nodes", ""), f"{place}.nodes")
        yield Step(place, STAGE_TWO, op.SetMemoryPolicy(mode, nodes))


def affinity_before(process: Process) -> Iterator[Step]:
    """execCPUAffinity.initial: where stage one and its child run until the cgroup was entered."""
    yield from _affinity(process, "initial", STAGE_ONE)


def affinity_after(process: Process) -> Iterator[Step]:
    """execCPUAffinity.final: within what the cgroup allows."""
    yield from _affinity(process, "final", STAGE_TWO)


def _affinity(process: Process, when: str, stage: int) -> Iterator[Step]:
    if processors := process.get("execCPUAffinity", {}).get(when):
        place = f"process.execCPUAffinity.{when}"
        mask = bit_mask(str(processors), place)
        yield Step(place, stage, op.SetAffinity(mask))


def bit_mask(ranges: str, place: str) -> bytes:
    """A list such as `0-3,7` as bits in native longs. Raises InvalidArgument naming `place`."""
    bits = 0
    for part in ranges.replace(" ", "").split(",") if ranges.strip() else ():
        first, dash, last = part.partition("-")
        if not (first.isascii() and first.isdigit() and (not dash or (last.isascii() and last.isdigit()))):
            raise InvalidArgument(f"config.json: {place}: {part!r} is no number and no range")
        start, end = int(first), int(last or first)
        if start > end or end >= _LAST_PROCESSOR:
            raise InvalidArgument(f"config.json: {place}: {part!r} is no range")
        bits |= (1 << end + 1) - (1 << start)
    return bits.to_bytes((bits.bit_length() + 63) // 64 * 8, "little")
