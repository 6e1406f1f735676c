"""Processes held by descriptor, so that a pid that was given to somebody else is never signalled."""

from __future__ import annotations

from cloche import os
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # `signal` imports enum

_WALL = 0x40000000  # __WALL: children cloned with an exit signal other than SIGCHLD, too
_BOOT_ID: list[str] = []


class Exit(Record):
    """How a process ended. code: what it passed to exit(2); signal: what killed it, or 0."""

    code: int
    signal: int

    @property
    def status(self) -> int:
        """The shell's number for it: the exit code, or 128 and the signal."""
        return 128 + self.signal if self.signal else self.code


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
        result = os.waitid(os.P_PIDFD, pidfd, options)
        if result is None:
            return None
        if result.si_code == os.CLD_EXITED:
            return Exit(result.si_status, 0)
        if result.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
            return Exit(0, result.si_status)


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
