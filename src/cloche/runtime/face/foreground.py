"""Standing in front of a container's process: its signals, its terminal, its end."""

from __future__ import annotations

import gc

from cloche import os
from cloche.errors import ClocheError, FailedPrecondition

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any

    from cloche.runtime.container import Process
    from cloche.runtime.face.relays import Relays
    from cloche.spec.config import Process as ProcessSettings
else:
    import _signal

_LAST_SIGNAL = 64
# Those that the kernel raises for the program's own faults, those that cannot be caught, and those
# that concern this process alone: its children, its pipes, its window.
_NOT_FORWARDED = frozenset(
    int(getattr(_signal, f"SIG{name}"))
    for name in "KILL STOP CHLD SEGV BUS FPE ILL TRAP SYS PIPE WINCH URG".split()  # noqa: SIM905 - table
)


class Forwarding:
    """While open, signals that reach this process go to the container's process instead.

    Those that come before there is one are kept for it. A signal that was ignored when this
    process started (as nohup does) stays ignored. wanted: False makes this do nothing.
    """

    __slots__ = ("_pending", "_previous", "_process", "_wanted")

    def __init__(self, *, wanted: bool = True) -> None:
        self._wanted = wanted
        self._process: Process | None = None
        self._pending: list[int] = []
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Forwarding:
        for number in range(1, _LAST_SIGNAL + 1) if self._wanted else ():
            if number in _NOT_FORWARDED or 32 <= number < _signal.SIGRTMIN:
                continue
            if _signal.getsignal(number) != _signal.SIG_IGN:
                self._previous[number] = _signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            _signal.signal(number, handler)

    def to(self, process: Process) -> None:
        """From now on signals go to this process."""
        self._process = process
        pending, self._pending = self._pending, []
        for number in pending:
            self._receive(number, None)

    def _receive(self, number: int, _frame: object) -> None:
        if self._process is None:
            self._pending.append(number)
            return
        try:
            self._process.kill(number)
        except (ClocheError, OSError):
            # It has ended: whoever waits for it will see that.
            return


def fit_terminal(settings: ProcessSettings) -> None:
    """Give a process that has a pty the size of the terminal it will be joined to.

    Raises FailedPrecondition where there is no terminal here, before anything is made.
    """
    if not settings.get("terminal"):
        return
    from cloche.kernel import tty

    terminal = next((descriptor for descriptor in (0, 1, 2) if os.isatty(descriptor)), -1)
    if terminal < 0:
        try:
            os.close(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY))
        except OSError as error:
            raise FailedPrecondition(
                f"a terminal is wanted and there is none here: /dev/tty: {error.strerror}"
            ) from None
    rows, columns = tty.window_size(terminal)
    if rows and columns:
        settings["consoleSize"] = {"height": rows, "width": columns}


def follow(process: Process, forwarding: Forwarding, relays: Relays) -> int:
    """Be the process's front until it has ended; returns its exit code.

    With a pty, the terminal is raw meanwhile, and what is typed and printed passes through.
    """
    forwarding.to(process)
    # This may take months: what is there by now stays, what comes is collected again.
    gc.freeze()
    gc.enable()
    if process.console is not None:
        from cloche.kernel import tty

        tty.join(process.console, until=process.fileno())
    relays.carry(process.fileno())
    return process.wait()
