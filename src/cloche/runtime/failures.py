"""The error that callers of the runtime tell from all others."""

from __future__ import annotations

from cloche.errors import FailedPrecondition


class ExecFailed(FailedPrecondition):
    """The container's program cannot be executed.

    errno: ENOENT when it is not there (a shell's 127), EACCES and others when it is not executable (126).
    """

    def __init__(self, message: str, errno: int) -> None:
        super().__init__(message)
        self.errno = errno
