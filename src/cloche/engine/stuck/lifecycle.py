"""Processes that wait for another process: to be started, continued, reaped, or to let go of them."""

from __future__ import annotations

import os

from cloche.engine.stuck.findings import Wait, named
from cloche.kernel import threads
from cloche.kernel.open_files import opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.kernel.threads import Thread

_SIGKILL, _SIGTERM = 9, 15
_PID_ONE = 1
_WAITING_FOR_CHILDREN = ("wait4", "waitid")


def explain(thread: Thread) -> Wait | None:
    """What a thread waits for that is stopped, traced, dead, at the gate, or waits for a child."""
    if thread.state == "Z":
        return _zombie(thread)
    if thread.state == "t":
        return Wait("its debugger to let it go on", named(thread.tracer), f"kill {thread.tracer}")
    if thread.state == "T":
        return Wait("a SIGCONT: it was stopped by a signal", remedy=f"kill -CONT {thread.pid}")
    if thread.is_in("wait_for_vfork_done", "kernel_clone") and (wait := _vfork(thread)):
        return wait
    if thread.call in _WAITING_FOR_CHILDREN:
        children = children_of(thread.pid)
        words = ", ".join(named(pid) for pid in children[:3])
        return Wait(f"a child to end: {words}" if words else "a child to end", stuck=False)
    return None


def gate(thread: Thread, container_id: str) -> Wait | None:
    """A container's first process that waits to be started.

    container_id: by which `cloche start` knows it; "" where another runtime has made it.
    """
    if thread.call not in ("read", "open", "openat"):
        return None
    if thread.call == "read":
        one = opened(thread.pid, thread.argument(0))
        at_gate = one is not None and one.target.endswith(("/start.fifo", "/exec.fifo"))
    else:
        place = 0 if thread.call == "open" else 1
        path = threads.text_at(thread.pid, thread.arguments[place])
        at_gate = path.endswith("exec.fifo") or (
            path.startswith("/proc/self/fd/") and thread.is_in("fifo_open")
        )
    if not at_gate:
        return None
    remedy = f"cloche start {container_id}" if container_id else "start the container with its runtime"
    return Wait(
        "the container to be started: it was created, and its program is not executed yet", remedy=remedy
    )


def deaf_to(thread: Thread) -> Wait | None:
    """Why asking a container's first process to end (SIGTERM) does nothing; None where it does something.

    That is no waiting, but makes stopping it wait: a `cloche stop` for its time-out, others for ever.
    """
    masks = thread.signals
    remedy = f"kill -KILL {thread.pid}"
    if masks.is_pending(_SIGKILL) and thread.state == "D":
        return Wait(
            "the end of its wait: it was killed already, and dies as soon as the kernel lets go of it"
        )
    if masks.ignores(_SIGTERM):
        return Wait("SIGKILL, if it is to end: it ignores SIGTERM", "", remedy, stuck=False)
    if masks.blocks(_SIGTERM) and masks.is_pending(_SIGTERM):
        return Wait("SIGKILL, if it is to end: it blocks SIGTERM, and one was sent", "", remedy)
    if thread.inner == _PID_ONE and not masks.catches(_SIGTERM):
        why = "it is process 1 of its pid namespace without a handler, so the kernel drops the signal"
        return Wait(f"SIGKILL, if it is to end: SIGTERM does nothing: {why}", "", remedy, stuck=False)
    return None


def _zombie(thread: Thread) -> Wait:
    living = [other for other in threads.threads(thread.pid) if other.state not in "ZX"]
    if living:
        return Wait(f"its other threads to end: its first thread has, {len(living)} have not", stuck=False)
    parent = threads.thread(thread.parent)
    if parent is None:
        return Wait("its parent to reap it")
    doing = f"in {parent.call}" if parent.call else parent.wchan or parent.state
    return Wait(
        f"its parent to reap it: it has ended, and the parent ({doing}) does not wait for it",
        named(thread.parent),
        f"kill -CHLD {thread.parent} (or end the parent: kill {thread.parent})",
    )


def _vfork(thread: Thread) -> Wait | None:
    """The parent of a vfork sleeps until the child has executed something, which may hang."""
    for pid in children_of(thread.pid):
        child = threads.thread(pid)
        if child is not None and child.state not in "ZX":
            where = child.wchan or (child.stack[0] if child.stack else child.state)
            within = child.call or "the kernel"
            return Wait(
                f"its child to execute a program (vfork); the child is in {within} ({where})",
                named(pid),
                f"kill -KILL {pid}",
            )
    return None


def children_of(pid: int) -> list[int]:
    """The children of all threads of a process."""
    found: list[int] = []
    try:
        for tid in os.listdir(f"/proc/{pid}/task"):
            found += [int(word) for word in threads.read(f"/proc/{pid}/task/{tid}/children").split()]
    except OSError:
        pass
    return sorted(found)


def descendants_of(pid: int) -> list[int]:
    """Everything below a process, itself first."""
    found = [pid]
    for one in found:
        found += [child for child in children_of(one) if child not in found]
    return found
