"""Signals for a container's processes, and their end."""

from __future__ import annotations

import select

from cloche import os
from cloche.errors import FailedPrecondition, PermissionDenied, Unavailable
from cloche.kernel import pidfd
from cloche.kernel.cgroups.files import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals

    from cloche.runtime.container import Container
else:
    import _signal as signals  # `signal` imports enum

_TIMEOUT_S = 10.0


def kill(container: Container, signal: int, *, everyone: bool) -> None:
    """Send a signal to the container's process: see Container.kill."""
    if container.status() == "stopped" and not (everyone and _has_processes(container)):
        raise FailedPrecondition(f"container not running: {container.id!r}")
    all_by_one = signal == signals.SIGKILL and _has_own_pids(container)
    if everyone and not all_by_one:
        container.require_cgroups("signal every process of")
    if container.has_cgroups and (everyone or (signal == signals.SIGKILL and not all_by_one)):
        container.cgroup.kill(signal)
        return
    process = container.stored.open_process()
    if process is None:
        raise FailedPrecondition(f"container not running: {container.id!r}")
    try:
        _signal(container, process, signal)
    finally:
        os.close(process)


def end(container: Container, process: int) -> None:
    """Kill the container's process, and wait until it has ended. process: its pidfd.

    Raises Unavailable where it does not end.
    """
    try:
        _signal(container, process, signals.SIGKILL)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(process, select.POLLIN)
    if not poll.poll(_TIMEOUT_S * 1000):
        raise Unavailable(
            f"process {container.pid} of container {container.id!r} does not end: try again later"
        )


def _signal(container: Container, process: int, signal: int) -> None:
    try:
        pidfd.send_signal(process, signal)
    except PermissionError as error:
        if not (signal == signals.SIGKILL and _kill_whole(container)):
            raise PermissionDenied(
                f"process {container.pid} of container {container.id!r} may not be signalled: "
                f"{error.strerror} (an AppArmor or SELinux profile must let it receive signals of "
                "unconfined processes)"
            ) from None
    if signal == signals.SIGKILL and frozen(container.stored.cgroup_paths):
        # A frozen cgroup v1 process does not even die.
        container.cgroup.thaw()


def _kill_whole(container: Container) -> bool:
    """By cgroup2, which no security profile is asked about; False where that cannot be."""
    from cloche.kernel.cgroups.processes import kill_unified

    unified = container.stored.cgroup_paths.get("")
    return unified is not None and kill_unified(unified)


def _has_processes(container: Container) -> bool:
    return container.has_cgroups and bool(container.cgroup.processes())


def _has_own_pids(container: Container) -> bool:
    from cloche.runtime.plan_namespaces import wanted

    return wanted(container.config).get("pid") == ""
