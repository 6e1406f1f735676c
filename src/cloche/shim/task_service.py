"""The task service, versions 2 and 3: each request checked, carried out, and answered.

What may block is done on the container's lane (`cloche.shim.births`, `cloche.shim.containers`);
State, Wait, Connect and most signals are answered from what the shim knows.
"""

from __future__ import annotations

from cloche import __version__
from cloche.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from cloche.shim import births
from cloche.shim.processes import Process
from cloche.shim.stdio.opening import Uris
from cloche.spec.document import loads
from cloche.wire.messages import events, task
from cloche.wire.messages.google import Any, Timestamp
from cloche.wire.messages.runc_options import CheckpointOptions, ProcessDetails
from cloche.wire.messages.types import ProcessInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.shim.containers import Container, Shim
    from cloche.shim.server import Call, Handler

    _OfProcess = (
        task.StartRequest
        | task.StateRequest
        | task.WaitRequest
        | task.DeleteRequest
        | task.KillRequest
        | task.ResizePtyRequest
        | task.CloseIORequest
    )

_SIGKILL, _LAST_SIGNAL = 9, 64
_LARGEST_SIZE = 0xFFFF


class TaskService:
    """Answers for the containers of a shim. shutdown: called when the shim is to end."""

    def __init__(self, shim: Shim, shutdown: Callable[[], None]) -> None:
        self._shim = shim
        self._shutdown = shutdown

    def handlers(self) -> dict[str, Handler]:
        """By the methods' names."""
        return {
            "State": self.state,
            "Create": self.create,
            "Start": self.start,
            "Delete": self.delete,
            "Pids": self.pids,
            "Pause": self.pause,
            "Resume": self.resume,
            "Checkpoint": self.checkpoint,
            "Kill": self.kill,
            "Exec": self.exec,
            "ResizePty": self.resize_pty,
            "CloseIO": self.close_io,
            "Update": self.update,
            "Wait": self.wait,
            "Stats": self.stats,
            "Connect": self.connect,
            "Shutdown": self.shutdown,
        }

    def _process(self, request: _OfProcess) -> tuple[Container, Process]:
        container = self._shim.container(request.id)
        return container, container.process(request.exec_id)

    def create(self, request: task.CreateTaskRequest, call: Call) -> None:
        """Make a container, up to its gate."""

        def done(error: BaseException | None) -> None:
            container = self._shim.containers.get(request.id)
            if error is not None or container is None:
                call.refuse(error or NotFound("container not created"))
            else:
                call.answer(task.CreateTaskResponse(pid=container.init.pid))

        births.Birth(self._shim, request, done)

    def start(self, request: task.StartRequest, call: Call) -> None:
        """Let a process run its program."""
        container, process = self._process(request)

        def done(error: BaseException | None) -> None:
            if error is not None:
                call.refuse(error)
            else:
                call.answer(task.StartResponse(pid=process.pid))

        births.start(container, process, done)

    def exec(self, request: task.ExecProcessRequest, call: Call) -> None:
        """Add a process, which Start will make."""
        container = self._shim.container(request.id)
        births.check_id(request.exec_id, "a process")
        if request.exec_id in container.execs:
            raise AlreadyExists(f"id {request.exec_id}")
        container.init.require("exec in")
        if request.spec is None:
            raise InvalidArgument("spec: is missing")
        spec = loads(request.spec.value, "spec")
        uris = Uris(request.stdin, request.stdout, request.stderr, request.terminal)
        container.execs[request.exec_id] = Process(request.exec_id, uris, spec)
        container.publish(events.TaskExecAdded(container_id=container.id, exec_id=request.exec_id))
        call.answer()

    def state(self, request: task.StateRequest, call: Call) -> None:
        """What a process is."""
        container, process = self._process(request)
        status = container.init.frozen if container.init.frozen and process.started else process.status
        uris, ended = process.uris, process.ended
        answer = task.StateResponse(
            id=process.exec_id or container.id,
            bundle=container.bundle,
            pid=process.pid,
            status=process.status if ended else status,
            stdin=uris.stdin,
            stdout=uris.stdout,
            stderr=uris.stderr,
            terminal=uris.terminal,
            exit_status=ended.status if ended else 0,
            exited_at=Timestamp.of(ended.at_ns) if ended else None,
        )
        call.answer(answer)

    def wait(self, request: task.WaitRequest, call: Call) -> None:
        """How a process ended, once it has."""
        _, process = self._process(request)
        process.wait(call)

    def delete(self, request: task.DeleteRequest, call: Call) -> None:
        """Forget a process that has ended, or was never started; with the first one the container."""
        container, process = self._process(request)

        def answer() -> None:
            ended = process.ended
            exited_at = Timestamp.of(ended.at_ns) if ended else None
            status = ended.status if ended else 0
            call.answer(task.DeleteResponse(pid=process.pid, exit_status=status, exited_at=exited_at))

        def gone() -> None:
            container.execs.pop(process.exec_id, None)
            process.forget(NotFound(f"process does not exist {process.exec_id}"))
            answer()

        if process is container.init:
            container.delete(lambda error: call.refuse(error) if error else answer())
            return
        process.require("delete")
        if process.ended is None:
            gone()
        else:
            process.when_read(gone)

    def kill(self, request: task.KillRequest, call: Call) -> None:
        """Signal a process, or all of the container."""
        container, process = self._process(request)
        number = request.signal
        if number > _LAST_SIGNAL:
            raise InvalidArgument(f"signal {number}: the highest is {_LAST_SIGNAL}")
        if not process.pid:
            raise FailedPrecondition("process not created")
        finished = NotFound("process already finished")
        if process.ended is not None and not (request.all and process is container.init):
            raise finished
        direct = getattr(container.driver, "signals_directly", False) and not request.all
        if process is container.init and direct and number == _SIGKILL:
            # Those that share its pids would survive, and what is frozen does not even die.
            direct = not (container.shares_pids or container.init.frozen)
        if process is not container.init or direct:
            if not self._shim.children.signal(process.pid, number):
                raise finished
            call.answer()
            return
        driver = container.driver
        container.signals.run(lambda: driver.kill(number, everyone=request.all), _answering(call))

    def pids(self, request: task.PidsRequest, call: Call) -> None:
        """All processes of a container."""
        container = self._shim.container(request.id)

        def done(pids: list[int] | None, error: BaseException | None) -> None:
            if pids is None:
                call.refuse(error or NotFound("container not created"))
                return
            added = {process.pid: name for name, process in container.execs.items() if process.pid}
            infos = [ProcessInfo(pid=pid, info=_details(added.get(pid))) for pid in pids]
            call.answer(task.PidsResponse(processes=infos))

        container.lane.run(container.driver.pids, done)

    def pause(self, request: task.PauseRequest, call: Call) -> None:
        """Freeze a container."""
        container = self._shim.container(request.id)
        container.init.require("pause")
        container.init.freeze(under_way=True)

        def done(_result: object, error: BaseException | None) -> None:
            if error is not None:
                container.init.thaw()
                call.refuse(births.as_answer(error) or error)
                return
            if container.init.ended is None:
                container.init.freeze(under_way=False)
            container.publish(events.TaskPaused(container_id=container.id))
            call.answer()

        container.lane.run(container.driver.pause, done)

    def resume(self, request: task.ResumeRequest, call: Call) -> None:
        """Thaw a container."""
        container = self._shim.container(request.id)
        container.init.require("resume")

        def done(_result: object, error: BaseException | None) -> None:
            if error is not None:
                call.refuse(births.as_answer(error) or error)
                return
            container.init.thaw()
            container.publish(events.TaskResumed(container_id=container.id))
            call.answer()

        container.lane.run(container.driver.resume, done)

    def checkpoint(self, request: task.CheckpointTaskRequest, call: Call) -> None:
        """Write a container's state into a folder."""
        container = self._shim.container(request.id)
        container.init.require("checkpoint")
        options = CheckpointOptions.decode(request.options.value if request.options else b"")

        def done(_result: object, error: BaseException | None) -> None:
            if error is not None:
                call.refuse(births.as_answer(error) or error)
                return
            container.publish(events.TaskCheckpointed(container_id=container.id, checkpoint=request.path))
            call.answer()

        container.lane.run(lambda: container.driver.checkpoint(request.path, options), done)

    def resize_pty(self, request: task.ResizePtyRequest, call: Call) -> None:
        """Give a terminal another size."""
        _, process = self._process(request)
        if process.ended is not None and process.exec_id:
            raise FailedPrecondition("cannot resize a stopped container")
        process.resize(min(request.width, _LARGEST_SIZE), min(request.height, _LARGEST_SIZE))
        call.answer()

    def close_io(self, request: task.CloseIORequest, call: Call) -> None:
        """Let a process read the end of its input."""
        _, process = self._process(request)
        process.close_stdin()
        call.answer()

    def update(self, request: task.UpdateTaskRequest, call: Call) -> None:
        """Change limits."""
        container = self._shim.container(request.id)
        container.init.require("update")
        if request.resources is None:
            raise InvalidArgument("resources: are missing")
        resources = loads(request.resources.value, "resources")
        container.lane.run(lambda: container.driver.update(resources), _answering(call))

    def stats(self, request: task.StatsRequest, call: Call) -> None:
        """What a container uses."""
        container = self._shim.container(request.id)

        def work() -> Any:
            from cloche.shim import metrics

            cgroup = container.driver.cgroup()
            if cgroup is None:
                raise NotFound("cgroup does not exist")
            return metrics.read(cgroup.paths)

        def done(stats: Any | None, error: BaseException | None) -> None:
            if error is not None:
                call.refuse(error)
            else:
                call.answer(task.StatsResponse(stats=stats))

        container.lane.run(work, done)

    def connect(self, request: task.ConnectRequest, call: Call) -> None:
        """Who answers here."""
        container = self._shim.containers.get(request.id)
        pid = container.init.pid if container else 0
        call.answer(task.ConnectResponse(shim_pid=self._shim.pid, task_pid=pid, version=__version__))

    def shutdown(self, _request: task.ShutdownRequest, call: Call) -> None:
        """End the shim, unless it still has containers."""
        # In this order: whoever has the answer may start the next shim of this name at once, and that
        # one must not find us listening.
        if self._shim.is_empty:
            self._shutdown()
        call.answer()


def _details(exec_id: str | None) -> Any | None:
    return Any.pack(ProcessDetails(exec_id=exec_id)) if exec_id else None


def _answering(call: Call) -> Callable[[object, BaseException | None], None]:
    """Answers a call that has nothing to say but whether it went well."""

    def done(_result: object, error: BaseException | None) -> None:
        if error is not None:
            call.refuse(error)
        else:
            call.answer()

    return done
