"""Another project's OCI runtime, as the command line that it is: run, waited for, and understood.

A runtime's commands hang where the kernel hangs (a cgroup that cannot be frozen, a file system
that never answers), and a shim must outlive that: each has a time after which it is killed with
whatever it started. What it has to say it writes into a log of JSON lines; the last error there
is what the user has to know.
"""

from __future__ import annotations

import os
import select
import time

from cloche.errors import ClocheError, DeadlineExceeded, FailedPrecondition, NotFound, PermissionDenied
from cloche.kernel import pidfd
from cloche.shim.claims import CLAIMS
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals
    from collections.abc import Iterator
    from typing import Any
else:
    import _signal as signals  # `signal` imports enum

_LOG_TAIL_BYTES = 1 << 16
_OUTPUT_LIMIT_BYTES = 16 << 20
# A process that was killed is gone at once, but for one that waits uninterruptibly.
_KILLED_TIMEOUT_S = 2.0


class Flags(Record):
    """What every command of one runtime begins with.

    program: a path, or a name to look for in $PATH. root: the folder of its states. log: where it is to
    write its log. criu: the program that checkpoints; empty for the runtime's own choice.
    """

    program: str
    root: str
    log: str
    systemd_cgroup: bool = False
    criu: str = ""

    def words(self) -> list[str]:
        """The program and its global flags, as runc takes them and all others learnt to."""
        words = [self.program, "--root", self.root, "--log", self.log, "--log-format", "json"]
        if self.systemd_cgroup:
            words.append("--systemd-cgroup")
        if self.criu:
            words += ["--criu", self.criu]
        return words


class RuntimeCommand:
    """Runs the commands of one runtime. Any thread may do so; of several at once only one is sure to
    find its own error in the log.
    """

    def __init__(self, flags: Flags) -> None:
        self.flags = flags

    def run(
        self,
        action: str,
        *arguments: str,
        what: str,
        deadline_s: float,
        stdio: tuple[int, int, int] | None = None,
        data: bytes = b"",
    ) -> bytes:
        """Run a command to its end; returns what it wrote to its standard output.

        what: "OCI runtime create failed", with which an error begins. stdio: borrowed descriptors that
        become 0, 1 and 2, and go on to the container's process; without them data is the standard input.
        Raises DeadlineExceeded when it had to be killed, NotFound when the container is gone, and
        FailedPrecondition with the runtime's own words else.
        """
        log_from = self._log_size()
        files = [] if stdio else [_memory(data), _memory(b""), _memory(b"")]
        try:
            words = [*self.flags.words(), action, *arguments]
            status = self._run(words, stdio or (files[0], files[1], files[2]), what, deadline_s)
            if status:
                said = _contents(files[2]).decode(errors="replace") if files else ""
                raise self._failure(what, [action, *arguments], status, log_from, said)
            return _contents(files[1]) if files else b""
        finally:
            for descriptor in files:
                os.close(descriptor)

    def _run(self, words: list[str], stdio: tuple[int, int, int], what: str, deadline_s: float) -> int:
        with CLAIMS:
            child = _spawn(words, stdio, what)
            CLAIMS.claim(child)
        try:
            handle = pidfd.open(child)
            try:
                if not _ends(handle, deadline_s):
                    self._give_up(child, handle)
                    raise DeadlineExceeded(
                        f"{what}: {os.path.basename(words[0])} did not finish in {deadline_s:g} s and was "
                        "killed: `cloche why-stuck` says what its container waits for"
                    )
                result = pidfd.wait(handle)
                return result.status if result else 0
            finally:
                os.close(handle)
        finally:
            CLAIMS.release(child)

    def _give_up(self, child: int, handle: int) -> None:
        """End it and its own children (hooks, stages of init), which are in its process group."""
        try:
            os.killpg(child, signals.SIGKILL)
        except ProcessLookupError:
            pass
        # One that waits uninterruptibly dies later: it is an orphan then, for others to reap.
        if _ends(handle, _KILLED_TIMEOUT_S):
            pidfd.wait(handle)

    def _log_size(self) -> int:
        try:
            return os.stat(self.flags.log).st_size
        except FileNotFoundError:
            return 0

    def _failure(self, what: str, command: list[str], status: int, log_from: int, said: str) -> ClocheError:
        words = last_error(_read_from(self.flags.log, log_from)) or said.strip().rpartition("\n")[2]
        words = (
            words
            or f"{self.flags.program} {command[0]}: exit status {status}, and nothing in {self.flags.log}"
        )
        gone = (*_GONE, *(f"container {word} does not exist" for word in command[1:]))
        if command[0] not in _MAKING and any(saying in words.lower() for saying in gone):
            return NotFound(f"{what}: {words}")
        return FailedPrecondition(f"{what}: {words}")


# Commands in whose errors the thing that is missing is not the container.
_MAKING = ("create", "start", "exec", "restore")
# No two runtimes say in the same way that a container or its process is gone.
_GONE = (
    "container does not exist",
    "process already finished",
    "container not running",
    "container is not running",
    "no such process",
    "/status`: no such file or directory",
    "loading container: file does not exist",
)


def last_error(log: bytes) -> str:
    """The message of the last line of a log that tells of an error; empty without one.

    The lines are JSON objects with `level` and `msg` (runc, crun, runsc) or `message` (youki, with a
    backtrace after an empty line); what is not is left out.
    """
    found = ""
    for entry in _entries(log):
        if str(entry.get("level", "")).lower() in ("error", "fatal", "panic"):
            message = entry.get("msg") or entry.get("message")
            words = message.strip().partition("\n\n")[0] if isinstance(message, str) else ""
            found = words.replace("\n", " ") or found
    return found


def _entries(log: bytes) -> Iterator[dict[str, Any]]:
    for line in log.splitlines():
        if entry := _object(line):
            yield entry
        else:
            # runsc puts no line ends between them.
            yield from (_object(part) for part in line.replace(b"}{", b"}\n{").splitlines())


def _object(line: bytes) -> dict[str, Any]:
    from cloche.errors import InvalidArgument
    from cloche.spec.document import loads

    try:
        entry = loads(line, "a line of the runtime's log")
    except (InvalidArgument, ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}


def _spawn(words: list[str], stdio: tuple[int, int, int], what: str) -> int:
    """Start it in a process group of its own, with default signals, and nothing of ours but stdio."""
    environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    highest = max(stdio) + 1
    # A source among 0, 1, 2 could be overwritten before its turn.
    copies = [_copy(fd, max(highest, 3)) for fd in stdio]
    try:
        return pidfd.spawn(
            words[0],
            words,
            environment,
            search=True,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, place) for place, fd in enumerate(copies)],
            setpgroup=0,
            setsigmask=(),
            setsigdef=[number for number in range(1, 32) if number not in (signals.SIGKILL, signals.SIGSTOP)],
        )
    except FileNotFoundError:
        # Not NotFound, which says that the container is gone.
        raise FailedPrecondition(
            f"{what}: the runtime {words[0]!r} is not there: install it, or correct the BinaryName"
        ) from None
    except PermissionError:
        raise PermissionDenied(f"{what}: the runtime {words[0]!r} is not executable") from None
    except OSError as error:
        raise FailedPrecondition(f"{what}: the runtime {words[0]!r}: {error.strerror}") from None
    finally:
        for descriptor in copies:
            os.close(descriptor)


def _copy(descriptor: int, above: int) -> int:
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, above)


def _ends(handle: int, timeout_s: float) -> bool:
    """Whether the process behind a pidfd ends in time."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    deadline = time.monotonic() + timeout_s
    while (left := deadline - time.monotonic()) > 0:
        if poll.poll(left * 1000):
            return True
    return bool(poll.poll(0))


def _memory(data: bytes) -> int:
    """A file in memory: unlike a pipe it needs nobody at the other end, however much is written."""
    descriptor = os.memfd_create("cloche-runtime", os.MFD_CLOEXEC)
    if data:
        os.write(descriptor, data)
        os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _contents(descriptor: int) -> bytes:
    return os.pread(descriptor, min(os.fstat(descriptor).st_size, _OUTPUT_LIMIT_BYTES), 0)


def _read_from(path: str, offset: int) -> bytes:
    """What was added to a log, but not more than its end; nothing of what is no file that can be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, _LOG_TAIL_BYTES, max(min(offset, size), size - _LOG_TAIL_BYTES))
    except OSError:
        return b""
    finally:
        os.close(descriptor)
