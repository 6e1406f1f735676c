"""What a container's cgroups hold up: frozen, full of processes, or out of memory."""

from __future__ import annotations

import os

from cloche.engine.stuck.findings import Wait
from cloche.kernel import threads
from cloche.kernel.cgroups.layout import UNIFIED, directories_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cloche.kernel.threads import Thread


def conditions(pid: int) -> list[Wait]:
    """What concerns every process in the cgroups of this one."""
    try:
        paths = directories_of(pid)
    except (FileNotFoundError, ProcessLookupError):
        return []
    found = (_frozen(paths), _pids(paths), _memory(paths))
    return [wait for wait in found if wait is not None]


def frozen(pid: int) -> Wait | None:
    """Where a process's cgroup, or one above it, is frozen; None where none is."""
    try:
        return _frozen(directories_of(pid))
    except (FileNotFoundError, ProcessLookupError):
        return None


def explain(thread: Thread) -> Wait | None:
    """A thread that the freezer stopped, or that is being slowed down for its use of memory."""
    if thread.is_in("__refrigerator", "refrigerator", "do_freezer_trap", "cgroup_freezer", "get_signal"):
        return frozen(thread.pid)
    if thread.is_in("mem_cgroup_handle_over_high"):
        return Wait(
            "its turn: its cgroup is above memory.high, and is slowed down until it gives memory back"
        )
    if thread.is_in("mem_cgroup_oom_synchronize"):
        return Wait("memory: its cgroup is at its limit, and killing for want of memory is disabled there")
    return None


def _frozen(paths: Mapping[str, str]) -> Wait | None:
    if (own := paths.get("freezer")) is not None:
        for directory in _upwards(own):
            if _text(f"{directory}/freezer.self_freezing") == "1":
                return Wait(
                    f"the cgroup {directory} to be thawed", remedy=f"echo THAWED > {directory}/freezer.state"
                )
    if (own := paths.get(UNIFIED)) is not None:
        for directory in _upwards(own):
            if _text(f"{directory}/cgroup.freeze") == "1":
                return Wait(
                    f"the cgroup {directory} to be thawed", remedy=f"echo 0 > {directory}/cgroup.freeze"
                )
    return None


def _pids(paths: Mapping[str, str]) -> Wait | None:
    """The first cgroup, upwards, that takes no further process."""
    own = paths.get("pids", paths.get(UNIFIED, ""))
    for directory in _upwards(own):
        limit, current = _text(f"{directory}/pids.max"), _text(f"{directory}/pids.current")
        if limit.isdigit() and current.isdigit() and int(current) >= int(limit):
            refused = _text(f"{directory}/pids.events").removeprefix("max ").partition("\n")[0]
            often = f", and {refused} forks were refused" if refused.isdigit() and int(refused) else ""
            return Wait(
                f"room for processes: {current} of {limit} are there in the cgroup {directory}{often}",
                remedy=f"echo {int(limit) * 2} > {directory}/pids.max",
            )
    return None


def _memory(paths: Mapping[str, str]) -> Wait | None:
    own = paths.get("memory")
    if own and "under_oom 1" in _text(f"{own}/memory.oom_control"):
        return Wait(
            f"memory: the cgroup {own} is at its limit, and killing for want of memory is disabled there",
            remedy=f"echo 0 > {own}/memory.oom_control",
        )
    return None


def _upwards(directory: str) -> Iterator[str]:
    """A cgroup and those above it, up to the root of its hierarchy."""
    while directory and os.path.exists(f"{directory}/cgroup.procs"):
        yield directory
        directory = os.path.dirname(directory)


def _text(path: str) -> str:
    try:
        return threads.read(path).decode(errors="replace").strip()
    except OSError:
        return ""
