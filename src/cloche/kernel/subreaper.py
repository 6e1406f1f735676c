"""Being the parent of what descendants leave behind."""

from __future__ import annotations

from cloche.kernel.syscalls import call

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """prctl(2): orphans below this process become its children, not PID 1's. Forks do not inherit it."""
    call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
