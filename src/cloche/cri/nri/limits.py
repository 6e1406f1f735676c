"""Limits of cgroups from NRI's words to config.json's and CRI's, and back."""

from __future__ import annotations

from cloche.engine.starting import swap_is_counted
from cloche.errors import Unimplemented
from cloche.wire.messages.cri import resources as cri
from cloche.wire.messages.nri import resources as messages
from cloche.wire.messages.nri import values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_MEMORY = {
    "limit": ("limit", values.OptionalInt64),
    "reservation": ("reservation", values.OptionalInt64),
    "swap": ("swap", values.OptionalInt64),
    "kernel": ("kernel", values.OptionalInt64),
    "kernel_tcp": ("kernelTCP", values.OptionalInt64),
    "swappiness": ("swappiness", values.OptionalUInt64),
    "disable_oom_killer": ("disableOOMKiller", values.OptionalBool),
    "use_hierarchy": ("useHierarchy", values.OptionalBool),
}
_CPU = {
    "shares": ("shares", values.OptionalUInt64),
    "quota": ("quota", values.OptionalInt64),
    "period": ("period", values.OptionalUInt64),
    "realtime_runtime": ("realtimeRuntime", values.OptionalInt64),
    "realtime_period": ("realtimePeriod", values.OptionalUInt64),
}


def to_config(asked: messages.LinuxResources) -> dict[str, Any]:
    """As `linux.resources` of config.json, without devices. A memory limit of 0 is none.

    Raises Unimplemented for a class of block I/O, since nobody has configured any.
    """
    if asked.blockio_class is not None and asked.blockio_class.value:
        raise Unimplemented(
            f"blockio_class {asked.blockio_class.value!r}: no classes of block I/O are configured here"
        )
    found: dict[str, Any] = {}
    if memory := _given(asked.memory, _MEMORY):
        if not memory.get("limit", 1):
            del memory["limit"]
        if "limit" in memory and "swap" not in memory and swap_is_counted():
            memory["swap"] = memory["limit"]
        found["memory"] = memory
    cpu = _given(asked.cpu, _CPU)
    if asked.cpu is not None:
        cpu |= {name: text for name in ("cpus", "mems") if (text := getattr(asked.cpu, name))}
    if cpu:
        found["cpu"] = cpu
    if asked.hugepage_limits:
        found["hugepageLimits"] = [
            {"pageSize": each.page_size, "limit": each.limit} for each in asked.hugepage_limits
        ]
    if asked.unified:
        found["unified"] = dict(asked.unified)
    if asked.pids is not None:
        found["pids"] = {"limit": asked.pids.limit}
    return {name: value for name, value in found.items() if value}


def _given(asked: object, table: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    if asked is None:
        return {}
    return {
        word: value.value for name, (word, _) in table.items() if (value := getattr(asked, name)) is not None
    }


def from_config(limits: Mapping[str, Any] | None) -> messages.LinuxResources:
    """What `linux.resources` of a config.json says."""
    limits = limits or {}
    memory, cpu = limits.get("memory", {}), limits.get("cpu", {})
    found = messages.LinuxResources(
        hugepage_limits=[
            messages.HugepageLimit(page_size=each["pageSize"], limit=each["limit"])
            for each in limits.get("hugepageLimits", ())
        ],
        unified=dict(limits.get("unified", {})),
        devices=[_rule(each) for each in limits.get("devices", ())],
    )
    if memory:
        found.memory = messages.LinuxMemory(**_told(memory, _MEMORY))
    if cpu:
        lists = {name: cpu[name] for name in ("cpus", "mems") if name in cpu}
        found.cpu = messages.LinuxCPU(**_told(cpu, _CPU), **lists)
    if "pids" in limits:
        found.pids = messages.LinuxPids(limit=limits["pids"].get("limit", 0))
    return found


def _told(limits: Mapping[str, Any], table: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    return {name: kind(value=limits[word]) for name, (word, kind) in table.items() if word in limits}


def _rule(rule: Mapping[str, Any]) -> messages.LinuxDeviceCgroup:
    numbers = {name: values.OptionalInt64(value=rule[name]) for name in ("major", "minor") if name in rule}
    return messages.LinuxDeviceCgroup(
        allow=rule["allow"], type=rule.get("type", ""), access=rule.get("access", ""), **numbers
    )


def from_cri(asked: cri.LinuxContainerResources | None) -> messages.LinuxResources | None:
    """What a client of CRI asks for; 0 there is 0 here, as containerd has it."""
    if asked is None:
        return None
    return messages.LinuxResources(
        cpu=messages.LinuxCPU(
            shares=values.OptionalUInt64(value=asked.cpu_shares),
            quota=values.OptionalInt64(value=asked.cpu_quota),
            period=values.OptionalUInt64(value=asked.cpu_period),
            cpus=asked.cpuset_cpus,
            mems=asked.cpuset_mems,
        ),
        memory=messages.LinuxMemory(limit=values.OptionalInt64(value=asked.memory_limit_in_bytes)),
        hugepage_limits=[
            messages.HugepageLimit(page_size=each.page_size, limit=each.limit)
            for each in asked.hugepage_limits
        ],
        unified=dict(asked.unified),
    )


def keep_swap(found: messages.LinuxResources, asked: cri.LinuxContainerResources) -> None:
    """Lay what a client asks for of swap under what plugins, which are not told of it, have made of the rest.

    Beside another limit of memory it means nothing.
    """
    memory, swap = found.memory, asked.memory_swap_limit_in_bytes
    if memory is None or memory.swap is not None or not swap:
        return
    if memory.limit is not None and memory.limit.value == asked.memory_limit_in_bytes:
        memory.swap = values.OptionalInt64(value=swap)


def to_cri(asked: messages.LinuxResources, *, oom_score_adj: int = 0) -> cri.LinuxContainerResources:
    """As far as CRI has words for it, with a score that plugins have none for; what is not said is 0."""
    cpu, memory = asked.cpu or messages.LinuxCPU(), asked.memory or messages.LinuxMemory()
    return cri.LinuxContainerResources(
        cpu_shares=cpu.shares.value if cpu.shares else 0,
        cpu_quota=cpu.quota.value if cpu.quota else 0,
        cpu_period=cpu.period.value if cpu.period else 0,
        cpuset_cpus=cpu.cpus,
        cpuset_mems=cpu.mems,
        memory_limit_in_bytes=memory.limit.value if memory.limit else 0,
        memory_swap_limit_in_bytes=memory.swap.value if memory.swap else 0,
        hugepage_limits=[
            cri.HugepageLimit(page_size=each.page_size, limit=each.limit) for each in asked.hugepage_limits
        ],
        unified=dict(asked.unified),
        oom_score_adj=oom_score_adj,
    )
