"""Signals to this process, passed on to the container that it is attached to."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # has no stubs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_NEVER = frozenset(
    getattr(_signal, name)
    for name in (
        # Not ours to catch, or about this process itself: its children, its pipes, its own mistakes.
        *("SIGKILL", "SIGSTOP", "SIGCHLD", "SIGPIPE", "SIGURG"),
        *("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGABRT", "SIGSYS", "SIGPROF"),
        # The terminal's size is copied, and reading or writing in the background must stop us.
        *("SIGWINCH", "SIGTTIN", "SIGTTOU"),
    )
)
_LAST_SIGNAL = 31


class SignalProxy:
    """While it is entered, signals go to `deliver`; those before connect() wait for it.

    The former handlers come back at the end. Main thread only.
    """

    def __init__(self) -> None:
        self._deliver: Callable[[int], None] | None = None
        self._pending: list[int] = []
        self._former: dict[int, Any] = {}

    def connect(self, deliver: Callable[[int], None]) -> None:
        """Send what came and what comes to `deliver`, which takes a signal's number."""
        self._deliver = deliver
        while self._pending:
            deliver(self._pending.pop(0))

    def __enter__(self) -> SignalProxy:
        for number in range(1, _LAST_SIGNAL + 1):
            # What the caller had us ignore (nohup) stays ignored.
            if number not in _NEVER and _signal.getsignal(number) != _signal.SIG_IGN:
                self._former[number] = _signal.signal(number, self._caught)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            _signal.signal(number, _signal.SIG_DFL if handler is None else handler)

    def _caught(self, number: int, _frame: object) -> None:
        if self._deliver is None:
            self._pending.append(number)
            return
        self._deliver(number)
