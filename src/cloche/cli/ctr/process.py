"""One process of a task: the first one, or one that was added with an exec id."""

from __future__ import annotations

from cloche.errors import NotFound
from cloche.wire.messages import tasks as messages
from cloche.wire.messages.tasks import TASKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.cli.ctr.daemon import Daemon
    from cloche.wire.messages.types import Process as State


class Process:
    """By its container and its exec id (empty for the first). Methods raise NotFound once it is gone."""

    def __init__(self, daemon: Daemon, container: str, execution: str = "") -> None:
        self._daemon = daemon
        self.container = container
        self.execution = execution

    def another(self) -> Process:
        """The same, over a connection of its own."""
        return Process(self._daemon.another(), self.container, self.execution)

    def state(self) -> State:
        """How it is."""
        request = messages.GetRequest(container_id=self.container, exec_id=self.execution)
        state: State = self._daemon.ask(TASKS, "Get", request).process
        return state

    def start(self) -> int:
        """Start it; its pid."""
        request = messages.StartRequest(container_id=self.container, exec_id=self.execution)
        pid: int = self._daemon.ask(TASKS, "Start", request).pid
        return pid

    def wait(self) -> int:
        """Wait for its end; its exit code."""
        request = messages.WaitRequest(container_id=self.container, exec_id=self.execution)
        code: int = self._daemon.ask(TASKS, "Wait", request).exit_status
        return code

    def kill(self, signal: int, *, everyone: bool = False) -> None:
        """Send a signal. everyone: to all processes of the task."""
        request = messages.KillRequest(
            container_id=self.container, exec_id=self.execution, signal=signal, all=everyone
        )
        self._daemon.ask(TASKS, "Kill", request)

    def resize(self, rows: int, columns: int) -> None:
        """Give its terminal another size."""
        request = messages.ResizePtyRequest(
            container_id=self.container, exec_id=self.execution, width=columns, height=rows
        )
        self._daemon.ask(TASKS, "ResizePty", request)

    def close_input(self) -> None:
        """Let it read the end of its input."""
        request = messages.CloseIORequest(container_id=self.container, exec_id=self.execution, stdin=True)
        self._daemon.find(TASKS, "CloseIO", request)

    def delete(self) -> int:
        """Forget it, after its end; its exit code."""
        code: int
        if self.execution:
            further = messages.DeleteProcessRequest(container_id=self.container, exec_id=self.execution)
            code = self._daemon.ask(TASKS, "DeleteProcess", further).exit_status
        else:
            first = messages.DeleteTaskRequest(container_id=self.container)
            code = self._daemon.ask(TASKS, "Delete", first).exit_status
        return code

    def destroy(self) -> int:
        """Kill it wherever it is, and forget it; its exit code."""
        from cloche.engine.signals import number_of

        try:
            self.kill(number_of("KILL"), everyone=not self.execution)
        except NotFound:
            return self.delete()
        self.wait()
        return self.delete()


class Steering:
    """Signals and sizes for a process, out of signal handlers: one call after the other."""

    def __init__(self, process: Process) -> None:
        self._process = process.another()
        self._waiting: list[Callable[[], None]] = []
        self._busy = False

    def kill(self, signal: int) -> None:
        """Send a signal; one that has ended does not mind."""
        self._do(lambda: self._process.kill(signal))

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of its terminal."""
        self._do(lambda: self._process.resize(rows, columns))

    def _do(self, what: Callable[[], None]) -> None:
        self._waiting.append(what)
        if self._busy:
            return  # a signal came while the one before is being told: that call goes on with this
        self._busy = True
        try:
            while self._waiting:
                try:
                    self._waiting.pop(0)()
                except NotFound:
                    pass
        finally:
            self._busy = False
