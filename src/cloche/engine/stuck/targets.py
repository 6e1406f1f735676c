"""Whom a user means: a container of ours, one of containerd's, or a process."""

from __future__ import annotations

import os

from cloche.engine.stuck.diagnosis import diagnose, relatives
from cloche.engine.stuck.findings import Finding, Wait, named
from cloche.engine.stuck.lifecycle import descendants_of
from cloche.errors import NotFound
from cloche.kernel import threads
from cloche.kernel.file_locks import file_locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.engine.context import Context
    from cloche.store.containers import Container

# Where containerd keeps its tasks, and cloched below its own state directory.
_CONTAINERD = "/run/containerd"
_TASKS = "io.containerd.runtime.v2.task"


def why_stuck(context: Context, reference: str) -> list[Finding]:
    """What the processes of a container wait for. See `diagnose` for the order.

    reference: name or id of a container of ours; a container's id in containerd; or a process's number.
    Raises NotFound for what is none of them, or has no process.
    """
    from cloche.engine.containers import Containers

    try:
        row = Containers(context).get(reference).row
    except NotFound:
        pid = _of_task(context.state, reference) or _of_task(_CONTAINERD, reference) or _of_process(reference)
        if not pid:
            raise
        return diagnose(relatives(pid), first=pid)
    return of_container(context, row)


def of_container(context: Context, row: Container) -> list[Finding]:
    """The same for a container of ours, with whoever works on it: a hook may be what hangs."""
    from cloche.runtime.container import Container as RuntimeContainer

    try:
        container = RuntimeContainer.load(context.runtime_root, row.id)
    except NotFound:
        raise NotFound(f"container {row.name!r} has no process: it does not run") from None
    inside = container.processes() if container.has_cgroups else []
    pids = [*([container.pid] if container.pid else []), *inside]
    found = diagnose(dict.fromkeys(pids), first=container.pid, container_id=row.name)
    return [*occupied(container.folder.path, set(pids)), *found]


def _working_on(folder: str) -> list[int]:
    """Who holds the lock on a container's state: it is being created, started or deleted."""
    try:
        status = os.stat(folder)
    except FileNotFoundError:
        return []
    device = os.major(status.st_dev), os.minor(status.st_dev)
    return [
        lock.pid
        for lock in file_locks()
        if (lock.device, lock.inode) == (device, status.st_ino) and lock.pid > 0 and lock.pid != os.getpid()
    ]


def occupied(folder: str, inside: set[int]) -> list[Finding]:
    """Whoever works on a container just now and waits for processes of its own: hooks, above all.

    folder: of the container's state, which is locked meanwhile. inside: the container's own processes.
    """
    found: list[Finding] = []
    for pid in _working_on(folder):
        below = [one for one in descendants_of(pid)[1:] if one not in inside]
        if not below:
            continue
        words = ", ".join(threads.command_line(one, "?") for one in below)
        wait = Wait(
            f"{named(pid)}, which works on the container and waits for {words}",
            ", ".join(named(one) for one in below),
            f"kill {below[-1]}",
        )
        found += [Finding.of_container(wait), *diagnose(below, first=0)]
    return found


def _of_task(state: str, reference: str) -> int:
    """The first process of a daemon's container, by what its shim wrote into the bundle; 0 for none."""
    if "/" in reference or not reference:
        return 0
    try:
        namespaces = sorted(os.listdir(f"{state}/{_TASKS}"))
    except FileNotFoundError:
        return 0
    for namespace in namespaces:
        try:
            text = threads.read(f"{state}/{_TASKS}/{namespace}/{reference}/init.pid").strip()
        except OSError:
            continue
        if text.isdigit():
            return _of_process(text.decode())
    return 0


def _of_process(reference: str) -> int:
    """The process of that number, where there is one."""
    if not reference.isdigit() or len(reference) > 10 or threads.thread(int(reference)) is None:
        return 0
    return int(reference)
