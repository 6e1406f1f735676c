"""Start a shim: a process of its own that is the parent of a detached container.

    starter                    first process                shim
    posix_spawn ─────────────▶ reads the request
    request, rootfs, lock      fork ───────────────────────▶ setsid
    waitpid ◀───────────────── _exit                         start: runtime create
    reads the answer ◀────────────────────────────────────── {"pid": …} or {"error": …}
                                                             serve until the end

The fork happens in the fresh process, which has one thread; the starter may have many. What comes
of it is nobody's child but PID 1's (or the nearest subreaper's).
"""

from __future__ import annotations

import os
import signal
import sys

from cloche import errors
from cloche.runtime.failures import ExecFailed
from cloche.spec.document import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.errors import ClocheError
    from cloche.shim.parent import Request
    from cloche.spec.config import Process as ProcessConfig

# Where the shim finds what it was given.
ROOTFS, REQUEST, ANSWER, LOCK = 3, 4, 5, 6
_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from cloche.shim.main import main; main()"
_EXEC_PROGRAM = _PROGRAM.replace("main()", "main_exec()").replace("import main;", "import main_exec;")


def interpreter(program: str, *arguments: str) -> list[str]:
    """A command line that runs Python text with this package and nothing of a `site`."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [base, "-I", "-S", "-c", program, package, *arguments]


def launch(request: Request, *, rootfs: int, lock: int) -> int:
    """Start a shim and wait until its container runs; returns the container's pid.

    rootfs: the detached mount; lock: the descriptor that holds `ownership.Ownership`, which the
    shim goes on holding. Both are borrowed. Raises what went wrong in the shim.
    """
    document = dict(zip(request._fields, request.values(), strict=True))
    return _launch(_PROGRAM, document, {ROOTFS: rootfs, LOCK: lock})


def launch_exec(runtime_root: str, container_id: str, process: ProcessConfig) -> int:
    """Run one more process in a container under a parent of its own, detached; returns its pid.

    Not as our own child: a container cannot end before all its processes are reaped, so one whose
    parent does not wait for it would keep the container from ending. Raises what went wrong.
    """
    document = {"runtime_root": runtime_root, "container_id": container_id, "process": process}
    return _launch(_EXEC_PROGRAM, document, {})


def _launch(program: str, document: dict[str, Any], descriptors: dict[int, int]) -> int:
    memory = os.memfd_create("cloche-request", os.MFD_CLOEXEC)
    reading, writing = os.pipe()
    try:
        _write(memory, dumps(document))
        _spawn(program, {**descriptors, REQUEST: memory, ANSWER: writing})
        os.close(writing)
        writing = -1
        return _answer(reading)
    finally:
        for descriptor in (memory, reading, writing):
            if descriptor >= 0:
                os.close(descriptor)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
    os.lseek(descriptor, 0, os.SEEK_SET)


def _spawn(program: str, descriptors: dict[int, int]) -> None:
    import fcntl

    # dup2 in order must not overwrite a source that is still needed.
    highest = max(*descriptors, *descriptors.values()) + 1
    moved = {place: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, highest) for place, fd in descriptors.items()}
    try:
        actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)
        ]
        actions += [(os.POSIX_SPAWN_DUP2, fd, place) for place, fd in moved.items()]
        command = interpreter(program)
        pid = os.posix_spawn(
            command[0],
            command,
            {"LANG": "C.UTF-8"},
            file_actions=actions,
            setsigmask=(),
            setsigdef=[number for number in signal.valid_signals() if number not in (9, 19)],
        )
    finally:
        for descriptor in moved.values():
            os.close(descriptor)
    os.waitpid(pid, 0)


def _answer(descriptor: int) -> int:
    data = b""
    while part := os.read(descriptor, 1 << 16):
        data += part
    if not data:
        raise errors.FailedPrecondition("the container's parent ended before the container was started")
    answer = loads(data, "the shim's answer")
    if "pid" in answer:
        return int(answer["pid"])
    raise revived(answer)


def described(error: BaseException) -> dict[str, object]:
    """An error as it is sent to the starter."""
    return {"error": type(error).__name__, "message": str(error), "errno": getattr(error, "errno", None)}


def revived(answer: dict[str, object]) -> ClocheError:
    """The error that `described` put into words."""
    message, errno = str(answer.get("message")), answer.get("errno")
    if answer.get("error") == "ExecFailed" and isinstance(errno, int):
        return ExecFailed(message, errno)
    kind = getattr(errors, str(answer.get("error")), None)
    if isinstance(kind, type) and issubclass(kind, errors.ClocheError):
        return kind(message)
    return errors.FailedPrecondition(message)
