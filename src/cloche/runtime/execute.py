"""Execute a plan: start cloche-init, talk with it, and say in the user's terms what failed.

The conversation is drawn in native/init.c; the numbers here are its.
"""

from __future__ import annotations

import fcntl
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    SCM_RIGHTS,
    SHUT_WR,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socketpair,
)

from cloche import os
from cloche.errors import ClocheError, FailedPrecondition
from cloche.kernel import pidfd as pidfd_module
from cloche.runtime.caller import LENT, CallerOperation, EntersStageOne, Performing
from cloche.runtime.operations import LoadNotifyingFilter, RequestMounts
from cloche.runtime.plan import TRACE_SLOT, Plan, Step
from cloche.runtime.sealed import sealed_init, sealed_memory
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from _socket import socket
    from collections.abc import Callable, Sequence

else:
    import _signal as signal  # `signal` imports enum

FAILED, CLONED, WAITING, CONSOLE, CREATED, EXECUTING = range(1, 7)

REPORT_SIZE = 128
_TEXT_AT = 16
_DESCRIPTORS_A_MESSAGE = 253  # SCM_MAX_FD
_NO_STEP = 0xFFFFFFFF


class Report(Record):
    """One record from init. Comes from inside the container: believed only for what it is."""

    kind: int
    index: int
    error: int
    call: int
    text: str

    @classmethod
    def parse(cls, data: bytes) -> Report:
        """Raises FailedPrecondition for what is no record."""
        if len(data) != REPORT_SIZE:
            raise FailedPrecondition(f"cloche-init sent {len(data)} bytes where {REPORT_SIZE} were due")
        kind, index = memoryview(data)[:8].cast("I")
        error, call = memoryview(data)[8:_TEXT_AT].cast("i")
        words = data[_TEXT_AT:].split(b"\0", 1)[0].decode(errors="replace")
        return cls(kind, index, error, call, "".join(c if c.isprintable() else " " for c in words).strip())


class Started(Record):
    """A container's process. The descriptors are the receiver's; console is -1 without a terminal."""

    pid: int
    pidfd: int
    console: int


def execute(
    plan: Plan,
    performing: Performing,
    *,
    stdio: tuple[int, int, int] = (0, 1, 2),
    preserve_fds: int = 0,
    note: Callable[[int], None] | None = None,
) -> Started:
    """Execute a plan up to its gate, or up to execve where it has none.

    performing: with what was lent to the plan; its descriptors are closed by its owner.
    stdio: descriptors that become 0, 1 and 2. preserve_fds: how many from 3 on go along. note: called
    with the pid of the container's process; at a gate that waits until it is noted, and ends where
    we die before.
    Raises an error of cloche.errors that names the place in config.json; then no process is left.
    """
    if performing.trace is not None:
        performing.trace.begin(plan)
    # As long as nothing needs a process, what is wrong is found before there is one.
    early = isinstance(plan.steps[0].operation, EntersStageOne)
    if not early:
        _perform_first(plan, performing)
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)
    try:
        try:
            stage_one = _spawn(theirs.fileno(), stdio, preserve_fds)
        except OSError as error:
            raise FailedPrecondition(f"cloche-init cannot be started: {error.strerror}") from error
        finally:
            theirs.close()
        if early:
            _perform_around(plan, performing, ours, stage_one)
        return _Conversation(plan, performing, ours, stage_one).hold(note)
    finally:
        ours.close()


def _perform_first(plan: Plan, performing: Performing) -> None:
    for step in plan.caller_steps():
        _perform(step, performing)


def _perform_around(plan: Plan, performing: Performing, ours: socket, stage_one: int) -> None:
    """The caller's first steps while stage one waits for its plan; where one fails it gets none."""
    performing.pid = stage_one
    try:
        _perform_first(plan, performing)
    except BaseException:
        ours.shutdown(SHUT_WR)
        pidfd_module.reap(stage_one)
        raise
    performing.pid = 0


def _perform(step: Step, performing: Performing) -> None:
    operation = step.operation
    if not isinstance(operation, CallerOperation):
        raise TypeError(f"{operation.describe()} is not the caller's to perform")
    trace = performing.trace
    began_ns = trace.now() if trace else 0
    try:
        operation.perform(performing)
    except OSError as error:
        from cloche.runtime.step_failures import of_step

        raise of_step(step, error.errno or 0, "") from error
    finally:
        if trace:
            trace.performed(step, began_ns)


def _spawn(control: int, stdio: tuple[int, int, int], preserve_fds: int) -> int:
    """posix_spawn(3) of the sealed init: standard streams, the preserved descriptors, the control socket."""
    program = sealed_init()
    place = 3 + preserve_fds
    wanted = [*enumerate(stdio), *((fd, fd) for fd in range(3, place)), (place, control)]
    # A source in the range of the targets could be overwritten before its turn: moved out first.
    moved = {
        fd: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, place + 1)
        for target, fd in wanted
        if fd <= place and fd != target
    }
    actions = [(os.POSIX_SPAWN_DUP2, moved.get(fd, fd), target) for target, fd in wanted]
    try:
        path = f"/proc/self/fd/{program}"
        return pidfd_module.spawn(path, ["cloche-init", str(place)], {}, file_actions=actions)
    finally:
        for descriptor in moved.values():
            os.close(descriptor)


class _Conversation:
    """What init's two stages say, in whatever order it arrives.

    Both stages write to one socket, so the second may be heard before the first has told its pid.
    """

    def __init__(self, plan: Plan, performing: Performing, ours: socket, stage_one: int) -> None:
        self.plan = plan
        self.performing = performing
        self.socket = ours
        self.stage_one = stage_one
        self.pid = 0
        self.pidfd = -1
        self.console = -1
        self.waiting: int | None = None
        self.created = False
        self.executing = False

    def hold(self, note: Callable[[int], None] | None) -> Started:
        try:
            self._send_plan()
            while not (self.created and self.pidfd >= 0):
                report, descriptor = self._receive()
                if report is None:
                    self._end()
                    break
                self._hear(report, descriptor)
                self._answer()
            if note:
                note(self.pid)
            if self.created:
                self._say(b".")
        except BaseException:
            self._abandon()
            raise
        finally:
            if self.performing.trace is not None:
                self.performing.trace.end()
            pidfd_module.reap(self.stage_one)
        return Started(self.pid, self.pidfd, self.console)

    def _send_plan(self) -> None:
        trace = self.performing.trace
        if trace is not None:
            self.performing.lend(TRACE_SLOT, trace.memory)
        data, slots = self.plan.encode(TRACE_SLOT if trace else "")
        memory = sealed_memory("cloche-plan", data)
        try:
            descriptors = [memory, *(self.performing.descriptors[slot] for slot in slots)]
            for first in range(0, len(descriptors), _DESCRIPTORS_A_MESSAGE):
                part = descriptors[first : first + _DESCRIPTORS_A_MESSAGE]
                rights = b"".join(fd.to_bytes(4, "little") for fd in part)
                self._say(b"P", [(SOL_SOCKET, SCM_RIGHTS, rights)])
        finally:
            os.close(memory)

    def _receive(self) -> tuple[Report | None, int]:
        """The next record, None at the end, and the descriptor that came along or -1."""
        try:
            data, ancillary, _, _ = self.socket.recvmsg(REPORT_SIZE, CMSG_SPACE(4))
        except ConnectionResetError:
            # The other end died with our message unread.
            return None, -1
        descriptor = -1
        for _, kind, content in ancillary:
            if kind == SCM_RIGHTS and len(content) >= 4:
                descriptor = int.from_bytes(content[:4], "little", signed=True)
                os.set_inheritable(descriptor, False)
        return (Report.parse(data) if data else None), descriptor

    def _hear(self, report: Report, descriptor: int) -> None:
        if report.kind == FAILED:
            raise self._failure(report)
        if report.kind == CLONED and descriptor >= 0 and self.pidfd < 0:
            self.pid, self.pidfd = report.error, descriptor
            self.performing.pid, self.performing.pidfd = self.pid, self.pidfd
        elif report.kind == CONSOLE and descriptor >= 0 and self.console < 0:
            self.console = descriptor
        elif report.kind == WAITING and not (descriptor >= 0 and LENT in self.performing.descriptors):
            self.waiting = report.index
            if descriptor >= 0:
                self.performing.descriptors[LENT] = descriptor
        elif report.kind == CREATED:
            self.created = True
        elif report.kind == EXECUTING:
            self.executing = True
        else:
            raise FailedPrecondition(f"cloche-init sent a record of kind {report.kind} out of turn")

    def _answer(self) -> None:
        """Do what stage two waits for, as soon as it is known which process that is."""
        if self.waiting is None or self.pidfd < 0:
            return
        waiting, self.waiting = self.waiting, None
        for step in self.plan.caller_steps(waiting):
            _perform(step, self.performing)
        asking = self.plan.steps[waiting].operation
        if isinstance(asking, RequestMounts):
            self._send_mounts()
        # Who loads a notifying filter has its answer already, in the page that it shares with us.
        elif not isinstance(asking, LoadNotifyingFilter):
            self._say(b".")

    def _send_mounts(self) -> None:
        """One message each, since stage two takes one for each that it attaches."""
        handed, self.performing.handed = self.performing.handed, []
        for descriptor in handed:
            self._say(b"M", [(SOL_SOCKET, SCM_RIGHTS, descriptor.to_bytes(4, "little"))])

    def _say(self, word: bytes, ancillary: Sequence[tuple[int, int, bytes]] = ()) -> None:
        try:
            self.socket.sendmsg([word], ancillary)
        except (BrokenPipeError, ConnectionResetError):
            pass  # nobody listens any more: its last report, or the end of the socket, says why

    def _end(self) -> None:
        """End of file: execve has closed the socket, or both stages are dead."""
        if not (self.executing and self.pidfd >= 0):
            raise FailedPrecondition(self._death())

    def _failure(self, report: Report) -> ClocheError:
        if report.index == _NO_STEP or report.index >= len(self.plan.steps):
            return FailedPrecondition(f"cloche-init failed: {os.strerror(report.error)}")
        from cloche.runtime.step_failures import of_program, of_step

        step = self.plan.steps[report.index]
        if step.place.startswith("process.args"):
            self._learn_pid()
            return of_program(self.plan, report.error, self.pid)
        return of_step(step, report.error, report.text)

    def _learn_pid(self) -> None:
        """Stage two was faster than stage one's last word, which is on its way."""
        while self.pidfd < 0:
            report, descriptor = self._receive()
            if report is None:
                return
            self._hear(report, descriptor)

    def _death(self) -> str:
        if self.pidfd < 0:
            return "cloche-init ended before it had made the container's process"
        status = wait(self.pidfd)
        why = f"was killed by signal {status - 128}" if status > 128 else f"exited with status {status}"
        os.close(self.pidfd)
        self.pidfd = -1
        return f"the container's process {why} before it could execute its program (out of memory?)"

    def _abandon(self) -> None:
        """Kill and reap the container's process, of which we may not even have heard yet."""
        if self.pidfd < 0:
            self._hear_of_clone()
        if self.pidfd >= 0:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            wait(self.pidfd)
            os.close(self.pidfd)
        if self.console >= 0:
            os.close(self.console)

    def _hear_of_clone(self) -> None:
        # Stage two may still wait for us; without an answer it ends.
        self.socket.shutdown(SHUT_WR)
        while self.pidfd < 0:
            report, descriptor = self._receive()
            if report is None:
                return
            if report.kind == CLONED and descriptor >= 0:
                self.pidfd = descriptor
            elif descriptor >= 0:
                os.close(descriptor)


def wait(pidfd: int) -> int:
    """Reap the child behind a pidfd: its exit status, or 128 and the signal that killed it."""
    ended = pidfd_module.wait(pidfd)
    if ended is None:
        raise ChildProcessError("waitid: nothing to reap")
    return ended.status
