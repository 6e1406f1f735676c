"""What runtimes say of a program that cannot be executed, and what we find out about it beside that."""

from __future__ import annotations

import os
from errno import EACCES, ENOENT, ENOEXEC

from cloche.errors import ClocheError
from cloche.runtime.failures import ExecFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.errors import FailedPrecondition

# In the order in which they are looked for: crun adds the first to the second.
_SAYINGS = {
    "executable file": ENOENT,
    "not found in $path": ENOENT,
    "exec format error": ENOEXEC,
    "permission denied": EACCES,
    "does not have correct permissions": EACCES,
    "no such file or directory": ENOENT,
}
# Words beside `exec` that tell of something else that could not be executed.
_OTHERS = ("hook", "mount")


def errno_of(words: str) -> int:
    """ENOENT, EACCES or ENOEXEC where a runtime says that the program cannot be executed; 0 else."""
    lower = words.lower()
    if "exec" not in lower.partition("failed: ")[2] or any(other in lower for other in _OTHERS):
        return 0
    return next((errno for saying, errno in _SAYINGS.items() if saying in lower), 0)


def as_exec_failure(error: FailedPrecondition, process: dict[str, Any], root: str) -> FailedPrecondition:
    """The same error, but ExecFailed with the reason where a runtime means that.

    process: of config.json. root: a directory of ours or of /proc that is the container's root.
    The runtime's own words stay at the beginning: engines look for them.
    """
    errno = errno_of(str(error))
    if not errno:
        return error
    why = _reason(process, root, errno)
    return ExecFailed(f"{error}: {why}" if why else str(error), errno)


def _reason(process: dict[str, Any], root: str, errno: int) -> str:
    from cloche.runtime.program_faults import Wanted, fault
    from cloche.spec.validate import validate_process

    try:
        validate_process(process)
        descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (ClocheError, OSError):
        return ""
    try:
        return fault(descriptor, Wanted.of_process(process), errno)  # type: ignore[arg-type]  # valid, so it is one
    finally:
        os.close(descriptor)
