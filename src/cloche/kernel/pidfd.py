"""Processes held by descriptor, so that a pid that was given to somebody else is never signalled.

And children: made and reaped by this process, or by another one in its place. The kernel gives a child
to whoever clones it, and its end to nobody else; a shim's worker, which comes and goes, leaves both to
what stays of the shim (`cloche.shim.holder`).
"""

from __future__ import annotations

from cloche import os
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Mapping, Sequence
    from typing import Any, Protocol

    class Parent(Protocol):
        """Another process that is the parent of our children."""

        def posix_spawn(
            self,
            name: str,
            words: Sequence[str],
            environment: Mapping[str, str],
            *,
            search: bool,
            **options: Any,
        ) -> int:
            """See spawn."""

        def waitid(self, idtype: int, number: int, options: int) -> Any:
            """As os.waitid, of its children and of ours."""
else:
    import _signal  # `signal` imports enum

_WALL = 0x40000000  # __WALL: children cloned with an exit signal other than SIGCHLD, too
_PIDFD_GET_INFO, _PIDFD_INFO_BYTES, _PIDFD_INFO_EXIT = 0xC040FF0B, 64, 8
_BOOT_ID: list[str] = []
_parents: list[Parent] = []


class Exit(Record):
    """How a process ended. code: what it passed to exit(2); signal: what killed it, or 0."""

    code: int
    signal: int

    @property
    def status(self) -> int:
        """The shell's number for it: the exit code, or 128 and the signal."""
        return 128 + self.signal if self.signal else self.code


def leave_children_to(parent: Parent) -> None:
    """From now on that process makes our children. What is our own already stays so."""
    _parents[:] = [parent]


def spawn(
    name: str, words: Sequence[str], environment: Mapping[str, str], *, search: bool = False, **options: Any
) -> int:
    """posix_spawn(3), or posix_spawnp(3) to search in PATH; options are those of os.posix_spawn.

    Of another parent a child always has default signals.
    """
    if _parents:
        return _parents[0].posix_spawn(name, words, environment, search=search, **options)
    return (os.posix_spawnp if search else os.posix_spawn)(name, list(words), environment, **options)


def waitid(idtype: int, number: int, options: int) -> Any:
    """os.waitid."""
    return (_parents[0] if _parents else os).waitid(idtype, number, options)


def reap(pid: int) -> int:
    """Wait for the end of a child; its exit code, or the negative number of the signal that killed it."""
    if not _parents:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    ended = waitid(os.P_PID, pid, os.WEXITED)
    status: int = ended.si_status
    return status if ended.si_code == os.CLD_EXITED else -status


def open(pid: int) -> int:  # noqa: A001 - read as pidfd.open
    """pidfd_open(2): a descriptor of a process, readable once it ended.

    Raises ProcessLookupError when there is none. A number remembered from earlier may be
    another's by now: compare `start_time` after opening.
    """
    return os.pidfd_open(pid)


def wait(pidfd: int, *, block: bool = True) -> Exit | None:
    """Wait for our child's end and reap it.

    Works for children that do not send SIGCHLD. Returns None when it still runs and `block` is
    false. Raises ChildProcessError when it is not our child or was reaped already.
    """
    while True:
        options = os.WEXITED | _WALL | (0 if block else os.WNOHANG)
        result = waitid(os.P_PIDFD, pidfd, options)
        if result is None:
            return None
        if result.si_code == os.CLD_EXITED:
            return Exit(result.si_status, 0)
        if result.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
            return Exit(0, result.si_status)


def exit_of(pidfd: int) -> Exit | None:
    """How a process ended that was reaped already; None where the kernel does not tell (before 6.15)."""
    import fcntl

    request = bytearray(_PIDFD_INFO_EXIT.to_bytes(8, "little").ljust(_PIDFD_INFO_BYTES, b"\0"))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, request)
    except OSError:
        return None
    if not int.from_bytes(request[:8], "little") & _PIDFD_INFO_EXIT:
        return None
    status = int.from_bytes(request[-4:], "little")
    return Exit(0, os.WTERMSIG(status)) if os.WIFSIGNALED(status) else Exit(os.WEXITSTATUS(status), 0)


def send_signal(pidfd: int, number: int) -> None:
    """pidfd_send_signal(2). Raises ProcessLookupError when the process has ended."""
    _signal.pidfd_send_signal(pidfd, number)


def start_time(pid: int) -> int:
    """When a process began, in clock ticks since boot: with boot id and pid it is unique.

    Raises ProcessLookupError when there is no such process.
    """
    return parse_stat(_read(f"/proc/{pid}/stat"))[1]


def parse_stat(text: bytes) -> tuple[str, int]:
    """State letter and start time from /proc/PID/stat.

    The name in it is the process's own choice and may hold blanks and brackets, so fields are
    counted from the last bracket. Raises ValueError for what is not such a file.
    """
    fields = text.rpartition(b")")[2].split()
    if len(fields) < 20:
        raise ValueError(f"not a /proc/PID/stat: {text!r}")
    return fields[0].decode(), int(fields[19])


def ended(pid: int) -> bool:
    """Whether a process is gone, or a zombie that nobody reaped yet."""
    try:
        return parse_stat(_read(f"/proc/{pid}/stat"))[0] in "ZX"
    except ProcessLookupError:
        return True


def boot_id() -> str:
    """The id of this boot of the machine; process numbers and start times mean nothing across two."""
    if not _BOOT_ID:
        _BOOT_ID.append(_read("/proc/sys/kernel/random/boot_id").decode().strip())
    return _BOOT_ID[0]


def _read(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ProcessLookupError(3, "No such process", path) from None
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
