"""The processes of one cgroup directory: listed, frozen, signalled, and waited out of the way."""

from __future__ import annotations

import errno
import time

from cloche import os
from cloche.errors import Unavailable
from cloche.kernel.cgroups.files import gone, read, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

FREEZE_TIMEOUT_S = 2.0


def listed(directory: str) -> list[int]:
    """The pids in one directory; empty when it is gone.

    A process of another pid namespace is listed as 0, which would mean "myself" to kill(2).
    """
    try:
        text = read(f"{directory}/cgroup.procs")
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:  # a threaded cgroup has no processes of its own
            return []
        if gone(error):
            return []
        raise
    return [int(line) for line in text.split() if line != "0"]


def below(directory: str) -> list[str]:
    """The directories below one, deepest first."""
    found: list[str] = []
    try:
        # Kernfs counts subdirectories as links: two mean that there is no need to look.
        if os.stat(directory).st_nlink > 2:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        found += [*below(entry.path), entry.path]
    except FileNotFoundError:
        pass
    return found


def inside(directory: str, *, recursive: bool) -> list[int]:
    """The pids in a directory, and with `recursive` in those below it; sorted."""
    pids = set(listed(directory))
    if recursive:
        for child in below(directory):
            pids.update(listed(child))
    return sorted(pids)


def freeze_legacy(directory: str) -> None:
    """Freeze a v1 freezer cgroup, or thaw it again and raise Unavailable."""
    deadline = time.monotonic() + FREEZE_TIMEOUT_S
    attempt = 0
    while True:
        attempt += 1
        # Each write makes the kernel look again at who came in since: forks can outrun a single one.
        write(f"{directory}/freezer.state", "FROZEN")
        if read(f"{directory}/freezer.state") == "FROZEN":
            return
        if time.monotonic() > deadline:
            write(f"{directory}/freezer.state", "THAWED")
            raise Unavailable(f"the processes in {directory!r} could not be frozen: try again")
        if attempt % 50 == 0:
            # A thaw in between helps where many processes appear at once.
            write(f"{directory}/freezer.state", "THAWED")
        if attempt > 3:
            time.sleep(min(attempt, 100) * 1e-5)


def freeze_unified(directory: str) -> None:
    """Freeze a v2 cgroup and wait until the kernel says so, or thaw it and raise Unavailable."""
    write(f"{directory}/cgroup.freeze", "1")
    if not _wait_for(directory, "frozen 1", FREEZE_TIMEOUT_S):
        write(f"{directory}/cgroup.freeze", "0")
        raise Unavailable(f"the processes in {directory!r} could not be frozen: try again")


def _wait_for(directory: str, line: str, timeout_s: float) -> bool:
    """Wait until cgroup.events of a v2 cgroup has a line; the kernel notifies of every change."""
    import select  # a library of its own, which hardly anybody here needs

    descriptor = os.open(f"{directory}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLPRI)
        deadline = time.monotonic() + timeout_s
        while line not in os.pread(descriptor, 4096, 0).decode():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            poll.poll(left * 1000)
        return True
    finally:
        os.close(descriptor)


def kill_unified(directory: str) -> bool:
    """SIGKILL everything in and below a v2 cgroup at once; False where that cannot be said so."""
    try:
        write(f"{directory}/cgroup.kill", "1")
    except OSError as error:
        if not gone(error):  # or Linux is older than 5.14
            raise
        return False
    return True


def signal_all(directory: str, signal: int) -> None:
    """Signal every process in a cgroup, again until no new one appears."""
    reached = {os.getpid()}
    while new := [pid for pid in inside(directory, recursive=True) if pid not in reached]:
        for pid in new:
            reached.add(pid)
            try:
                os.kill(pid, signal)
            except ProcessLookupError:
                pass


def move(pid: int, directories: Iterable[str]) -> None:
    """Move a process into cgroups by its pid: slow on v1, for a program of others' that stays outside."""
    for directory in directories:
        write(f"{directory}/cgroup.procs", str(pid))


def remove(directories: Iterable[str], *, timeout_s: float) -> list[str]:
    """Remove cgroup directories with all below; returns those still busy when the time is over.

    Processes leave a cgroup some time after they died, so EBUSY is tried again.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = 0.0001
    left = [directory for directory in directories if not _removed(directory)]
    while left and time.monotonic() < deadline:
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.02)
        left = [directory for directory in left if not _removed(directory)]
    return left


def _removed(directory: str) -> bool:
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        children = below(directory)
        return bool(children) and all(_removed(child) for child in children) and _removed(directory)
    return True
