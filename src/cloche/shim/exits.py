"""How a shim learns that processes have ended, and what it writes down before anybody is told.

Processes of containers are held by pidfd. Whatever they leave behind comes to the shim, which is a
subreaper, and has to be reaped too, though nobody asks how it ended: SIGCHLD tells of that.
"""

from __future__ import annotations

import os
import time

from cloche.errors import ClocheError
from cloche.kernel import pidfd as pidfds
from cloche.kernel.syscalls import call
from cloche.shim.claims import CLAIMS
from cloche.shim.loop import READ
from cloche.spec.document import dumps, load_file
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals
    from collections.abc import Callable

    from cloche.shim.holder import Holder
    from cloche.shim.loop import Loop
else:
    import _signal as signals  # `signal` imports enum

_WALL = 0x40000000
# Children of the calling thread only. Orphans come to the first thread, which is the loop's; what a
# lane has started stays the lane's to wait for.
_WNOTHREAD = 0x20000000
_UNKNOWN_STATUS = 255
_PR_SET_CHILD_SUBREAPER = 36

FILE, ADDED = "exit.json", "exits"
"""The first process's end; and the folder with those of added ones."""


class Exit(Record):
    """How a process ended. status: the exit code, or 128 and the signal; at_ns: when, since 1970."""

    pid: int
    status: int
    at_ns: int


class Children:
    """The processes of one shim. Everything here belongs to the loop's thread."""

    def __init__(self, loop: Loop) -> None:
        """From now on the process's signal wake-up descriptor is taken."""
        self._loop = loop
        self._watched: dict[int, tuple[int, Callable[[Exit], None]]] = {}
        self.terminated: Callable[[], None] = loop.stop
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signals.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (signals.SIGCHLD, signals.SIGTERM):
            signals.signal(number, _noted)
        for number in (signals.SIGINT, signals.SIGHUP, signals.SIGPIPE):
            signals.signal(number, signals.SIG_IGN)
        loop.watch(reading, READ, lambda _: self._signalled(reading))
        CLAIMS.settled = lambda: loop.call_soon(self.reap_orphans)

    def belong_to(self, holder: Holder | None) -> None:
        """Say before there is one whose children they are: the holder's; or ours, and we are a subreaper."""
        if holder is None:
            call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        else:
            pidfds.leave_children_to(holder)
            self._loop.watch(holder.news, READ, lambda _: self._signalled(holder.news))

    def watch(self, pid: int, pidfd: int, ended: Callable[[Exit], None]) -> None:
        """Reap this process when it ends, then call ended(exit). The pidfd is taken over."""
        self._watched[pid] = (pidfd, ended)
        self._loop.watch(pidfd, READ, lambda _: self._ended(pid))

    def handle(self, pid: int) -> int:
        """The pidfd of a watched process, borrowed; -1 for another."""
        return self._watched[pid][0] if pid in self._watched else -1

    def is_watched(self, pid: int) -> bool:
        """Whether this process's end is still to come."""
        return pid in self._watched

    def signal(self, pid: int, number: int) -> bool:
        """Signal a watched process; False when it has ended."""
        found = self._watched.get(pid)
        if found is None:
            return False
        try:
            pidfds.send_signal(found[0], number)
        except ProcessLookupError:
            return False
        return True

    def _ended(self, pid: int) -> None:
        pidfd, ended = self._watched[pid]
        try:
            result = pidfds.wait(pidfd, block=False)
        except ChildProcessError:
            # Reaped by a worker that died then, or not our child: newer kernels know how it ended.
            known = pidfds.exit_of(pidfd)
            status = known.status if known else _UNKNOWN_STATUS
        else:
            if result is None:
                return  # its first thread has ended, others have not
            status = result.status
        del self._watched[pid]
        self._loop.forget(pidfd)
        os.close(pidfd)
        CLAIMS.release(pid)
        ended(Exit(pid, status, time.time_ns()))

    def _signalled(self, descriptor: int) -> None:
        numbers = os.read(descriptor, 4096)
        if signals.SIGTERM in numbers:
            self.terminated()
        if signals.SIGCHLD in numbers:
            self.reap_orphans()

    def reap_orphans(self) -> None:
        """Reap what came to us and nobody waits for."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT | _WALL | _WNOTHREAD
        while True:
            try:
                found = pidfds.waitid(os.P_ALL, 0, options)
            except ChildProcessError:
                return
            if found is None:
                return
            if found.si_pid in self._watched:
                self._ended(found.si_pid)
            elif CLAIMS.is_orphan(found.si_pid):
                pidfds.waitid(os.P_PID, found.si_pid, os.WEXITED | os.WNOHANG | _WALL)
            else:
                # Whoever claimed it reaps it, and nothing behind it can be seen before.
                return


def _noted(_number: int, _frame: object) -> None:
    """Its number comes through the wake-up descriptor."""


def record(directory: str, ended: Exit, exec_id: str = "") -> None:
    """Write an end into the bundle, for whoever comes after this worker. Failing is no reason to stop.

    exec_id: of an added process; "" for the first one.
    """
    unfinished = f"{directory}/{FILE}.new"
    data = dumps({"pid": ended.pid, "status": ended.status, "at_ns": ended.at_ns})
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
        if exec_id and not os.path.isdir(f"{directory}/{ADDED}"):
            os.mkdir(f"{directory}/{ADDED}", 0o700)
        os.rename(unfinished, _path(directory, exec_id))
    except OSError:
        # The bundle was taken away, or its disk is full: the shim still knows.
        return


def recorded(directory: str, exec_id: str = "") -> Exit | None:
    """The end that was written into a bundle; None where there is none that can be read."""
    try:
        document = load_file(_path(directory, exec_id), limit_bytes=4096)
        return Exit(int(document["pid"]), int(document["status"]), int(document["at_ns"]))
    except (OSError, ClocheError, ValueError, TypeError, KeyError):
        return None


def forget(directory: str, exec_id: str = "") -> None:
    """Take the record of an end away; with the first process's all that are left."""
    try:
        os.unlink(_path(directory, exec_id))
        if not exec_id and os.path.isdir(f"{directory}/{ADDED}"):
            for name in os.listdir(f"{directory}/{ADDED}"):
                os.unlink(f"{directory}/{ADDED}/{name}")
            os.rmdir(f"{directory}/{ADDED}")
    except OSError:
        # With the bundle, which is not ours.
        return


def _path(directory: str, exec_id: str) -> str:
    return f"{directory}/{ADDED}/{exec_id}" if exec_id else f"{directory}/{FILE}"
