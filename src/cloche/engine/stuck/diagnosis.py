"""Why a container does not get on: each of its threads, and what that waits for."""

from __future__ import annotations

import os

from cloche.engine.stuck import cgroups, lifecycle, locks, mounts, ordinary, pipes
from cloche.engine.stuck.findings import Finding, Wait
from cloche.kernel import threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cloche.kernel.threads import Thread

# In this order: what stops a thread whatever it was doing comes before what it was doing, and a
# file system that does not answer before the lock or pipe on it.
EXPLANATIONS: tuple[Callable[[Thread], Wait | None], ...] = (
    lifecycle.explain,
    cgroups.explain,
    mounts.explain,
    locks.explain,
    pipes.explain,
)
_MOST_THREADS = 1000


def diagnose(pids: Iterable[int], *, first: int, container_id: str = "") -> list[Finding]:
    """What every process waits for: conditions of the whole container first, then who is stuck.

    pids: the container's processes. first: its own, 0 for none. container_id: as `cloche start` knows it.
    """
    found = [Finding.of_container(wait) for wait in (cgroups.conditions(first) if first else ())]
    stopped = bool(first) and cgroups.frozen(first) is not None
    frozen = Wait("its cgroup to be thawed", stuck=False) if stopped else None
    seen = 0
    for pid in pids:
        for thread in threads.threads(pid):
            seen += 1
            if seen > _MOST_THREADS:
                break
            found += _thread(thread, first, container_id, frozen)
    # A stable sort: within each kind, as they were found.
    return sorted(found, key=lambda finding: (finding.pid != 0, not finding.stuck))


def _thread(thread: Thread, first: int, container_id: str, frozen: Wait | None) -> list[Finding]:
    is_first = thread.pid == first and thread.tid == thread.pid
    wait = (lifecycle.gate(thread, container_id) if is_first else None) or explain(thread, frozen)
    if not wait.stuck and thread.tid != thread.pid:
        return []
    command = threads.command_line(thread.pid, thread.name) if thread.state not in "ZX" else ""
    found = [Finding.of_thread(thread, wait, command)]
    if is_first and thread.state not in "ZX" and (deaf := lifecycle.deaf_to(thread)) is not None:
        found.append(Finding.of_thread(thread, deaf, command))
    return found


def explain(thread: Thread, frozen: Wait | None = None) -> Wait:
    """What one thread waits for. frozen: what to say of one that the freezer holds, where it does."""
    if frozen is not None and thread.state not in "ZXTt":
        return frozen
    for explanation in EXPLANATIONS:
        if (wait := explanation(thread)) is not None:
            return wait
    return ordinary.explain(thread)


def relatives(pid: int) -> list[int]:
    """The processes of the container that a process belongs to, as far as its cgroup or descent tells."""
    from cloche.kernel.cgroups.cgroup import Cgroup
    from cloche.kernel.cgroups.layout import directories_of, layout

    known = layout()
    shared = {place for one in (*known.legacy, known.unified) if one for place in (one.mountpoint, one.own)}
    paths = {name: path for name, path in directories_of(pid).items() if path not in shared}
    inside = Cgroup.load(known, paths).processes() if paths else []
    found = [pid, *(one for one in lifecycle.descendants_of(pid)[1:]), *inside]
    return [one for one in dict.fromkeys(found) if one != os.getpid()]
