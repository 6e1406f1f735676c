"""Limits, from CRI's words to config.json's and back."""

from __future__ import annotations

import os

from cloche.cri.oom_score import possible
from cloche.engine.starting import swap_is_counted
from cloche.errors import InvalidArgument
from cloche.kernel.cgroups.layout import layout
from cloche.wire.messages.cri.resources import LinuxContainerResources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.cri.settings import Settings
    from cloche.spec.config import CPU, Memory


def limits(asked: LinuxContainerResources | None, settings: Settings) -> Any:
    """linux.resources without devices. Raises InvalidArgument for limits that cannot be."""
    if asked is None:
        return {}
    found: dict[str, Any] = {}
    if cpu := _cpu(asked):
        found["cpu"] = cpu
    if memory := _memory(asked):
        found["memory"] = memory
    if pages := _pages(asked, settings):
        found["hugepageLimits"] = pages
    if asked.unified:
        if layout().legacy:
            raise InvalidArgument("resources.unified: this machine has cgroup v1")
        found["unified"] = dict(asked.unified)
    return found


def _cpu(asked: LinuxContainerResources) -> CPU:
    cpu: CPU = {}
    if asked.cpu_shares:
        cpu["shares"] = min(max(asked.cpu_shares, 2), 262144)
    if asked.cpu_quota:
        cpu["quota"] = asked.cpu_quota
    if asked.cpu_period:
        cpu["period"] = asked.cpu_period
    if asked.cpuset_cpus:
        cpu["cpus"] = asked.cpuset_cpus
    if asked.cpuset_mems:
        cpu["mems"] = asked.cpuset_mems
    return cpu


def _memory(asked: LinuxContainerResources) -> Memory:
    memory: Memory = {}
    if asked.memory_limit_in_bytes:
        memory["limit"] = asked.memory_limit_in_bytes
    if not swap_is_counted():
        return memory
    if asked.memory_swap_limit_in_bytes:
        memory["swap"] = asked.memory_swap_limit_in_bytes
    elif asked.memory_limit_in_bytes:
        # Memory and swap together: none to swap, as the kubelet has it where it does not say.
        memory["swap"] = asked.memory_limit_in_bytes
    return memory


def _pages(asked: LinuxContainerResources, settings: Settings) -> list[dict[str, object]]:
    if not asked.hugepage_limits or _has_pages():
        return [{"pageSize": each.page_size, "limit": each.limit} for each in asked.hugepage_limits]
    if settings.tolerate_missing_hugetlb:
        return []
    raise InvalidArgument("resources.hugepage_limits: this machine has no hugetlb controller")


def _has_pages() -> bool:
    if not layout().legacy:
        return os.path.exists("/sys/kernel/mm/hugepages")
    return any("hugetlb" in each.controllers for each in layout().legacy)


def merged(old: LinuxContainerResources | None, new: LinuxContainerResources) -> LinuxContainerResources:
    """The limits in force after an update, in which 0 and "" stand for what stays."""
    values = dict(vars(old)) if old is not None else {}
    values |= {name: value for name, value in vars(new).items() if value}
    return LinuxContainerResources(**values)


def in_force(asked: LinuxContainerResources | None) -> LinuxContainerResources | None:
    """As a status tells them: with the score that the kernel let us set."""
    if asked is None:
        return None
    values = dict(vars(asked)) | {"oom_score_adj": possible(asked.oom_score_adj)}
    return LinuxContainerResources(**values)
