"""How readily the kernel kills a process: what we may set."""

from __future__ import annotations

_SYS_RESOURCE = 24


def possible(wanted: int) -> int:
    """The score that was asked for, or our own where we may not go below it.

    Without CAP_SYS_RESOURCE the kernel lets nobody lower it.
    """
    if _may_lower():
        return wanted
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        return max(wanted, int(file.read()))


def _may_lower() -> bool:
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _SYS_RESOURCE & 1)
    return False
