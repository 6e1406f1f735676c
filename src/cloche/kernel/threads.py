"""What /proc tells of a thread that waits: its state, its system call, where in the kernel it is.

Files that need the process's memory map (cmdline, mem) can block for as long as the process does,
so they are read with patience that ends; stat, status, stack, wchan and syscall never block.
"""

from __future__ import annotations

import _thread
import os

from cloche.kernel.call_numbers import NAMES
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 0.3
_PATH_MAX = 4096


class Masks(Record):
    """Signals of a process, as bit masks: 1 << (number - 1). Those pending count thread and process."""

    pending: int
    blocked: int
    ignored: int
    caught: int

    def ignores(self, number: int) -> bool:
        """Whether the process has set the signal to be ignored."""
        return bool(self.ignored >> (number - 1) & 1)

    def catches(self, number: int) -> bool:
        """Whether the process has a handler for the signal."""
        return bool(self.caught >> (number - 1) & 1)

    def is_pending(self, number: int) -> bool:
        """Whether the signal was sent and not received yet."""
        return bool(self.pending >> (number - 1) & 1)

    def blocks(self, number: int) -> bool:
        """Whether the thread does not receive the signal for now."""
        return bool(self.blocked >> (number - 1) & 1)


class Thread(Record):
    """One thread at one moment.

    pid, tid: of process and thread, the host's numbers. inner: the thread's number in its own pid
    namespace. state: the letter of proc(5). tracer: the pid of a debugger, or 0.
    wchan: the kernel function it sleeps in. stack: the functions around that, innermost first; empty
    to those who may not see it. call: its system call's name, "" where it is in none. arguments: of that.
    """

    pid: int
    tid: int
    name: str
    state: str
    parent: int
    tracer: int
    inner: int
    signals: Masks
    wchan: str
    stack: tuple[str, ...]
    call: str
    arguments: tuple[int, ...]

    def is_in(self, *functions: str) -> bool:
        """Whether one of these kernel functions (or one whose name begins so) is around it."""
        return any(frame.startswith(functions) for frame in (self.wchan, *self.stack))

    def argument(self, place: int) -> int:
        """An argument of the system call as a C int: descriptors, flags."""
        value = self.arguments[place] & 0xFFFFFFFF if place < len(self.arguments) else 0xFFFFFFFF
        return value - (1 << 32) if value >= 1 << 31 else value


def thread(pid: int, tid: int | None = None) -> Thread | None:
    """A thread of a process, the first one by default; None when there is none (any more)."""
    tid = pid if tid is None else tid
    place = f"/proc/{pid}/task/{tid}"
    try:
        status = parse_status(read(f"{place}/status"))
        call, arguments = parse_syscall(_read_or_nothing(f"{place}/syscall"))
        return Thread(
            pid,
            tid,
            status.get("Name", "?"),
            status.get("State", "?")[:1],
            int(status.get("PPid", "0")),
            int(status.get("TracerPid", "0")),
            int(status.get("NSpid", str(tid)).split()[-1]),
            _masks(status),
            _read_or_nothing(f"{place}/wchan").decode(errors="replace").strip("0\n "),
            parse_stack(_read_or_nothing(f"{place}/stack")),
            call,
            arguments,
        )
    except (FileNotFoundError, ProcessLookupError):
        return None


def threads(pid: int) -> list[Thread]:
    """All threads of a process, the first one first; none when it is gone."""
    try:
        tids = sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))
    except (FileNotFoundError, ProcessLookupError):
        return []
    found = (thread(pid, tid) for tid in sorted(tids, key=lambda tid: tid != pid))
    return [one for one in found if one is not None]


def parse_status(text: bytes) -> dict[str, str]:
    """The lines of /proc/PID/status."""
    pairs = (line.partition(":") for line in text.decode(errors="replace").splitlines())
    return {name: value.strip() for name, colon, value in pairs if colon}


def _masks(status: dict[str, str]) -> Masks:
    def mask(name: str) -> int:
        return int(status.get(name, "0"), 16)

    return Masks(mask("SigPnd") | mask("ShdPnd"), mask("SigBlk"), mask("SigIgn"), mask("SigCgt"))


def parse_stack(text: bytes) -> tuple[str, ...]:
    """Function names from /proc/PID/stack, innermost first."""
    frames = []
    for line in text.decode(errors="replace").splitlines():
        name = line.partition("]")[2].strip().partition("+")[0]
        if name:
            frames.append(name)
    return tuple(frames)


def parse_syscall(text: bytes) -> tuple[str, tuple[int, ...]]:
    """The call's name and its six arguments from /proc/PID/syscall.

    ("", ()) for a process that runs, or blocks outside of a call (a page fault). A call without a
    name here is called `syscall N`.
    """
    words = text.split()
    if len(words) < 7 or not words[0].isdigit():
        return "", ()
    number = int(words[0])
    return NAMES.get(number, f"syscall {number}"), tuple(int(word, 16) for word in words[1:7])


def command_line(pid: int, name: str) -> str:
    """The command line of a process on one line; `[name]` where it has none or cannot be read now."""
    text = patiently(lambda: _read_or_nothing(f"/proc/{pid}/cmdline"))
    words = (text or b"").rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace").strip()
    return words or f"[{name}]"


def text_at(pid: int, address: int) -> str:
    """The NUL-terminated text at an address of a process's memory; "" where it cannot be read now."""

    def look() -> bytes:
        descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # Not across the end of a page: the next one may not be mapped.
            first = os.pread(descriptor, _PATH_MAX - address % 4096, address)
            return first if b"\0" in first else first + os.pread(descriptor, _PATH_MAX, address + len(first))
        finally:
            os.close(descriptor)

    return os.fsdecode((patiently(look) or b"").partition(b"\0")[0])


def word_at(pid: int, address: int) -> int | None:
    """The 32-bit number at an address of a process's memory; None where it cannot be read now."""

    def look() -> bytes:
        descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(descriptor, 4, address)
        finally:
            os.close(descriptor)

    found = patiently(look) or b""
    return int.from_bytes(found, "little") if len(found) == 4 else None


def patiently(look: Callable[[], bytes], patience_s: float = PATIENCE_S) -> bytes | None:
    """What `look` returns; None when it fails, or has not answered in time.

    A look that blocks keeps its thread until what it looked at moves on.
    """
    answer: list[bytes] = []
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            answer.append(look())
        except (OSError, OverflowError):
            pass
        finally:
            done.release()

    _thread.start_new_thread(run, ())
    return answer[0] if done.acquire(timeout=patience_s) and answer else None


def read(path: str) -> bytes:
    """A whole file of /proc. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(descriptor, 1 << 16):
            parts.append(part)
    finally:
        os.close(descriptor)
    return b"".join(parts)


def _read_or_nothing(path: str) -> bytes:
    """A kernel may lack the file, or not show it to us."""
    try:
        return read(path)
    except OSError:
        return b""
