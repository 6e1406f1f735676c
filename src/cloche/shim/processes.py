"""A process of a container as clients know it: the first one, or one that was added by Exec.

      Create/Exec         Start            the process ends
    -----------> created -------> running ------------------> stopped ---- Delete --> gone
                    |              |  ^                          ^
                    |        Pause v  | Resume                   |
                    |             paused                         |
                    +--- the process ends, or is killed ---------+

Only the first process is made at once; an added one exists from Start on. What a process is
follows from facts (a pid, whether it was started, how it ended, whether its container is frozen).
"""

from __future__ import annotations

from cloche.errors import FailedPrecondition
from cloche.wire.messages.google import Timestamp
from cloche.wire.messages.task import WaitResponse
from cloche.wire.messages.types import CREATED, PAUSED, PAUSING, RUNNING, STATUS_NAMES, STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cloche.shim.exits import Exit
    from cloche.shim.server import Call
    from cloche.shim.stdio.opening import Stdio, Uris

ALLOWED = {
    "start": (CREATED,),
    "exec in": (CREATED, RUNNING),
    "pause": (RUNNING,),
    "resume": (PAUSED,),
    "checkpoint": (RUNNING, PAUSED),
    "update": (CREATED, RUNNING, PAUSED),
    "delete": (CREATED, STOPPED),
}


_PATIENCE_S = 1.0


class Process:
    """Facts about a process, and who waits for its end. Belongs to the loop's thread.

    exec_id: "" for the container's first. spec: what to run, for an added one. stdio: None before it
    exists. drained: all that it wrote is where it should go. waiting: calls that are answered at its end.
    size, stdin_closed: what was asked for.
    """

    def __init__(self, exec_id: str, uris: Uris, spec: dict[str, Any] | None = None) -> None:
        self.exec_id = exec_id
        self.uris = uris
        self.spec = spec
        self.pid = 0
        self.stdio: Stdio | None = None
        self.starting = False
        self.started = False
        self.frozen = 0
        self.ended: Exit | None = None
        self.drained = False
        self.size: tuple[int, int] | None = None
        self.stdin_closed = False
        self.waiting: list[Call] = []
        self._after_drain: list[Callable[[], None]] = []

    @property
    def status(self) -> int:
        """See the module; the values are those of messages.types."""
        if self.ended is not None:
            return STOPPED
        if self.frozen:
            return self.frozen
        return RUNNING if self.started else CREATED

    def require(self, action: str) -> None:
        """Raises FailedPrecondition where the process's state does not allow it."""
        status = self.status
        if status not in ALLOWED[action] or (self.starting and action in ("start", "delete")):
            name = "running" if status == CREATED else STATUS_NAMES[status]
            what = "process" if action in ("start", "delete") else "container"
            raise FailedPrecondition(f"cannot {action} a {name} {what}")

    def attach(self, stdio: Stdio, console: int) -> None:
        """The process exists: its streams are ours to move. console: its terminal's master, or -1."""
        self.stdio = stdio
        stdio.close_child()
        if console >= 0:
            stdio.attach_console(console)
        if self.size is not None:
            stdio.resize(*self.size)
        if self.exec_id:
            # It is known to clients and runs: they may type. The first process runs after its start.
            stdio.open_input()
        if self.stdin_closed:
            stdio.close_stdin()

    def resize(self, width: int, height: int) -> None:
        """Give its terminal a size; one that does not exist yet gets it at its start."""
        self.size = (width, height)
        if self.stdio is not None and self.uris.terminal:
            self.stdio.resize(width, height)

    def close_stdin(self) -> None:
        """Let it read the end of its input, at once or from its start on."""
        self.stdin_closed = True
        if self.stdio is not None:
            self.stdio.close_stdin()

    def wait(self, call: Call) -> None:
        """Answer a Wait when the process has ended."""
        if self.ended is not None:
            call.answer(self._end())
            return
        self.waiting.append(call)
        call.on_gone = lambda: self.waiting.remove(call)

    def end(self, ended: Exit) -> None:
        """It ended, and that is written down: tell who waits."""
        self.ended = ended
        self.frozen = 0
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            call.answer(self._end())

    def drain(self) -> None:
        """It ended: move what it left in its streams, within bounds, and close them."""
        if self.stdio is None:
            self._drained()
        else:
            self.stdio.finish(self._drained)

    def _drained(self) -> None:
        self.drained = True
        after, self._after_drain = self._after_drain, []
        for call in after:
            call()

    def after_drain(self, call: Callable[[], None]) -> None:
        """Call when its streams are closed, which may be now."""
        if self.drained:
            call()
        else:
            self._after_drain.append(call)

    def when_read(self, call: Callable[[], None]) -> None:
        """Call when clients have what it wrote, or have had time enough to come for it."""

        def drained() -> None:
            if self.stdio is None:
                call()
            else:
                self.stdio.when_read(call, patience_s=_PATIENCE_S)

        self.after_drain(drained)

    def forget(self, error: BaseException) -> None:
        """Nobody can ask for it any more: close its streams; who still waits is told why in vain."""
        if self.stdio is not None:
            self.stdio.close()
            self.stdio = None
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            call.refuse(error)

    def _end(self) -> WaitResponse:
        ended = self.ended
        assert ended is not None  # noqa: S101 - the callers have looked
        return WaitResponse(exit_status=ended.status, exited_at=Timestamp.of(ended.at_ns))

    def freeze(self, *, under_way: bool) -> None:
        """Its container is frozen, or about to be."""
        self.frozen = PAUSING if under_way else PAUSED

    def thaw(self) -> None:
        """Its container runs again."""
        self.frozen = 0
