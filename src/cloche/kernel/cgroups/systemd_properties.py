"""linux.resources as properties of a systemd unit. Pure: nothing is asked or set here.

systemd writes a unit's cgroup files anew whenever it reloads, so what it can hold must be told to
it too, or it would undo it. What it cannot hold is written to the files alone (see systemd.py). The
translation is runc's, so that a unit looks the same under either runtime.
"""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.kernel.cgroups import devices
from cloche.kernel.cgroups.v2 import DEFAULT_PERIOD_US, cpu_weight, swap_limit
from cloche.wire.dbus_values import Variant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    Section = Mapping[str, Any]
    Property = tuple[str, Variant]

INFINITY = (1 << 64) - 1
_PERCENT_US = 10_000  # of a second: systemd keeps quotas in whole percents of a processor
_LARGEST_PROCESSOR = 8191

SINCE = {
    "CPUQuotaPeriodUSec": 242,
    "AllowedCPUs": 244,
    "AllowedMemoryNodes": 244,
    "OOMPolicy": 253,
}
"""The version of systemd that came with a property (OOMPolicy: of scopes)."""

_MEMORY_FILES = {
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax",
}
_SETS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


def unit_properties(description: str, slice_name: str, pid: int, *, unified: bool) -> Iterator[Property]:
    """What every container's scope has. pid: the process that goes into it."""
    yield "Description", Variant("s", description)
    yield "Slice", Variant("s", slice_name)
    yield "Delegate", Variant("b", True)
    yield "PIDs", Variant("au", [pid])
    for kind in ("Memory", "CPU", "IO" if unified else "BlockIO", "Tasks"):
        yield f"{kind}Accounting", Variant("b", True)
    yield "DefaultDependencies", Variant("b", False)


def resource_properties(resources: Section, *, unified: bool) -> Iterator[Property]:
    """The limits that systemd can hold. unified: of a machine with cgroup2 alone.

    Raises InvalidArgument for values that cannot be.
    """
    memory, cpu = resources.get("memory") or {}, resources.get("cpu") or {}
    idle = unified and cpu.get("idle") == 1
    if unified:
        yield from _memory(memory)
    elif memory.get("limit"):
        yield "MemoryLimit", _number(memory["limit"])
    if idle:
        yield "CPUWeight", Variant("t", 0)
    elif cpu.get("shares"):
        weight = cpu_weight(cpu["shares"]) if unified else cpu["shares"]
        yield ("CPUWeight" if unified else "CPUShares"), Variant("t", weight)
    yield from _quota(cpu.get("quota") or 0, cpu.get("period") or 0)
    block = resources.get("blockIO") or {}
    if not unified and block.get("weight"):
        yield "BlockIOWeight", Variant("t", block["weight"])
    limit = (resources.get("pids") or {}).get("limit")
    if limit is not None:
        yield "TasksMax", _number(limit if limit < 0 else max(limit, 1))  # it knows no zero
    for key, name in (("cpus", "AllowedCPUs"), ("mems", "AllowedMemoryNodes")):
        if cpu.get(key):
            yield name, Variant("ay", bits(cpu[key], f"linux.resources.cpu.{key}"))
    if unified:
        yield from _from_files(resources.get("unified") or {}, idle=idle)


def _memory(memory: Section) -> Iterator[Property]:
    limit = memory.get("limit") or 0
    if limit:
        yield "MemoryMax", _number(limit)
    if memory.get("reservation"):
        yield "MemoryLow", _number(memory["reservation"])
    swap = swap_limit(limit, memory.get("swap") or 0)
    if swap is not None:
        yield "MemorySwapMax", _number(-1 if swap == "max" else int(swap))


def _number(value: int) -> Variant:
    """An unsigned number; what is negative means no limit."""
    return Variant("t", INFINITY if value < 0 else value)


def _quota(quota: int, period: int) -> Iterator[Property]:
    if period:
        yield "CPUQuotaPeriodUSec", Variant("t", period)
    if quota or period:
        yield "CPUQuotaPerSecUSec", _number(_rounded(quota, period) if quota > 0 else -1)


def _rounded(quota: int, period: int) -> int:
    """Microseconds in each second, up to the next percent, as systemd would take away the rest."""
    per_second = quota * 1_000_000 // (period or DEFAULT_PERIOD_US)
    return per_second + -per_second % _PERCENT_US


def with_whole_percents(resources: Section) -> Section:
    """The same limits with the quota that systemd will have written, to write no other beside it."""
    cpu = resources.get("cpu") or {}
    quota, period = cpu.get("quota") or 0, cpu.get("period") or 0
    if quota <= 0:
        return resources
    rounded = _rounded(quota, period) * (period or DEFAULT_PERIOD_US) // 1_000_000
    return {**resources, "cpu": {**cpu, "quota": max(rounded, quota)}}


def bits(ranges: str, place: str) -> bytes:
    """A list such as `0-2,7` as systemd's bit mask, lowest byte first. Raises InvalidArgument."""
    mask = 0
    for part in ranges.split(","):
        first, dash, last = part.strip().partition("-")
        words = [first.strip(), last.strip()] if dash else [first.strip()]
        if words == [""]:
            continue
        if not all(word.isascii() and word.isdigit() and len(word) < 6 for word in words):
            raise InvalidArgument(f"{place}: {part!r} is not a number or a range such as 0-3")
        low, high = int(words[0]), int(words[-1])
        if low > high or high > _LARGEST_PROCESSOR:
            raise InvalidArgument(f"{place}: {part!r} is not a range of processors or nodes")
        mask |= (1 << (high + 1)) - (1 << low)
    if not mask:
        raise InvalidArgument(f"{place}: {ranges!r} is empty")
    return mask.to_bytes(-(-mask.bit_length() // 8), "little")


def _from_files(files: Mapping[str, str], *, idle: bool) -> Iterator[Property]:
    """resources.unified, as far as systemd has words for it; all of it is written to the files too."""
    idle = idle or files.get("cpu.idle", "").strip() == "1"
    for file, text in files.items():
        value = text.strip()
        place = f"linux.resources.unified[{file}]"
        if file in _MEMORY_FILES:
            yield _MEMORY_FILES[file], _number(_parsed(value, place))
        elif file in _SETS:
            yield _SETS[file], Variant("ay", bits(value, place))
        elif file == "pids.max":
            limit = _parsed(value, place)
            yield "TasksMax", _number(limit if limit < 0 else max(limit, 1))
        elif file == "cpu.max":
            quota, _, period = value.partition(" ")
            yield from _quota(_parsed(quota, place), _parsed(period.strip() or str(DEFAULT_PERIOD_US), place))
        elif file == "cpu.weight" and not idle:
            yield "CPUWeight", _number(_parsed(value, place))
        elif file == "cpu.idle" and value == "1":
            yield "CPUWeight", Variant("t", 0)
        elif file == "memory.oom.group" and value in ("0", "1"):
            yield "OOMPolicy", Variant("s", "kill" if value == "1" else "continue")


def _parsed(word: str, place: str) -> int:
    if word == "max":
        return -1
    if not (word.isascii() and word.isdigit() and len(word) < 20):
        raise InvalidArgument(f"{place}: {word!r} is neither a number nor max")
    return int(word)


def device_properties(rules: Any) -> Iterator[Property]:
    """Who may use which devices, where that is a list of what is allowed; systemd knows no other.

    rules: of linux.resources.devices. Those with any major but one minor are left to our own filter.
    """
    wanted = devices.compile_rules((*rules, *devices.DEFAULT_RULES))
    if wanted.allowed and not wanted.exceptions:
        yield "DevicePolicy", Variant("s", "auto")
        yield "DeviceAllow", Variant("a(ss)", [])
        return
    yield "DevicePolicy", Variant("s", "strict")
    # The empty list takes back what the unit had.
    yield "DeviceAllow", Variant("a(ss)", [])
    if not wanted.allowed:
        named = ((_device(*device), access) for device, access in wanted.exceptions)
        yield "DeviceAllow", Variant("a(ss)", [(name, access) for name, access in named if name])


def _device(kind: str, major: int, minor: int) -> str:
    word = "block" if kind == "b" else "char"
    if minor != devices.EVERY:
        return "" if major == devices.EVERY else f"/dev/{word}/{major}:{minor}"
    return f"{word}-{'*' if major == devices.EVERY else major}"
