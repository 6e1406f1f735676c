"""Tasks: what runs (containerd.services.tasks.v1)."""

from __future__ import annotations

from cloche.api import checkpoints
from cloche.api.containers import missing, options_of
from cloche.errors import ClocheError, DeadlineExceeded, InvalidArgument, NotFound, Unavailable
from cloche.spec import filters
from cloche.store import clock
from cloche.store import containers as store
from cloche.wire.messages import task as shim_messages
from cloche.wire.messages import tasks as messages
from cloche.wire.messages.google import Any, Empty, Timestamp
from cloche.wire.messages.runc_options import CheckpointOptions
from cloche.wire.messages.types import Metric, Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from cloche.api.call import Call
    from cloche.api.host import Host
    from cloche.engine.tasks.lifecycle import Tasks as Manager
    from cloche.engine.tasks.shim import Shim
    from cloche.store.containers import Container
    from cloche.wire.protobuf import Message

    _M = TypeVar("_M", bound=Message)


class Tasks:
    """The service: each call goes on to the shim that has the task."""

    SERVICE = messages.TASKS

    def __init__(self, host: Host, manager: Manager) -> None:
        self._host = host
        self._manager = manager

    def _container(self, call: Call, container_id: str) -> Container:
        context = self._host.context(call)
        with context.metadata.read() as tx:
            row = store.get(tx, context.namespace, container_id)
        if row is None:
            raise missing(container_id, context.namespace)
        return row

    async def _shim(self, call: Call, container_id: str) -> Shim:
        return await self._manager.get(call.namespace, container_id)

    async def create(self, call: Call, request: messages.CreateTaskRequest) -> messages.CreateTaskResponse:
        """Make the processes of a container, up to the point where they would start."""
        row = self._container(call, request.container_id)
        asked = shim_messages.CreateTaskRequest(
            id=row.id,
            rootfs=list(request.rootfs),
            terminal=request.terminal,
            stdin=request.stdin,
            stdout=request.stdout,
            stderr=request.stderr,
        )
        options = request.options if request.options and request.options.value else options_of(row)
        try:
            if request.checkpoint is not None:
                asked.checkpoint = await call.run(checkpoints.directory, self._host.all().state)
                await call.run(checkpoints.extract, self._host, call, request.checkpoint, asked.checkpoint)
            pid = await self._manager.create(
                call.namespace,
                asked,
                runtime=request.runtime_path or row.runtime,
                spec=row.spec,
                options=options,
                sandbox=row.sandbox,
            )
        finally:
            if asked.checkpoint:
                await call.run(checkpoints.discard, asked.checkpoint)
        return messages.CreateTaskResponse(container_id=row.id, pid=pid)

    async def checkpoint(
        self, call: Call, request: messages.CheckpointTaskRequest
    ) -> messages.CheckpointTaskResponse:
        """Write a task's processes down: into a folder that the options name, else into the content store."""
        row = self._container(call, request.container_id)
        shim = await self._shim(call, row.id)
        given = request.options
        fits = given is not None and given.type_name == CheckpointOptions.FULL_NAME
        path = CheckpointOptions.decode(given.value).image_path if given is not None and fits else ""
        files = "" if path else await call.run(checkpoints.directory, self._host.all().state)
        try:
            asked = shim_messages.CheckpointTaskRequest(id=row.id, path=path or files, options=given)
            await shim.call("Checkpoint", asked)
            if path:
                return messages.CheckpointTaskResponse()
            made = await call.run(checkpoints.store, self._host, call, row, files)
            return messages.CheckpointTaskResponse(descriptors=made)
        finally:
            await call.run(checkpoints.discard, files)

    async def start(self, call: Call, request: messages.StartRequest) -> messages.StartResponse:
        """Start a task or one of its further processes."""
        asked = shim_messages.StartRequest(id=request.container_id, exec_id=request.exec_id)
        shim = await self._shim(call, request.container_id)
        started = await shim.call("Start", asked)
        return messages.StartResponse(pid=started.pid)

    async def delete(self, call: Call, request: messages.DeleteTaskRequest) -> messages.DeleteResponse:
        """Forget a task that has ended."""
        self._container(call, request.container_id)
        gone = await self._manager.delete(call.namespace, request.container_id)
        return messages.DeleteResponse(pid=gone.pid, exit_status=gone.exit_status, exited_at=gone.exited_at)

    async def delete_process(
        self, call: Call, request: messages.DeleteProcessRequest
    ) -> messages.DeleteResponse:
        """Forget a further process that has ended."""
        asked = shim_messages.DeleteRequest(id=request.container_id, exec_id=request.exec_id)
        shim = await self._shim(call, request.container_id)
        gone = await shim.call("Delete", asked)
        return messages.DeleteResponse(
            id=request.exec_id, pid=gone.pid, exit_status=gone.exit_status, exited_at=gone.exited_at
        )

    async def get(self, call: Call, request: messages.GetRequest) -> messages.GetResponse:
        """One process."""
        shim = await self._shim(call, request.container_id)
        return messages.GetResponse(process=await _process(shim, request.exec_id))

    async def list(self, call: Call, request: messages.ListTasksRequest) -> messages.ListTasksResponse:
        """The first process of every task of the namespace."""
        found = []
        for shim in await self._manager.list(call.namespace):
            try:
                found.append(await _process(shim, ""))
            except (NotFound, Unavailable, DeadlineExceeded):
                continue  # it goes just now, or does not answer
        return messages.ListTasksResponse(tasks=found)

    async def kill(self, call: Call, request: messages.KillRequest) -> Empty:
        """Send a signal."""
        asked = shim_messages.KillRequest(
            id=request.container_id, exec_id=request.exec_id, signal=request.signal, all=request.all
        )
        return await self._tell(call, "Kill", asked)

    async def exec(self, call: Call, request: messages.ExecProcessRequest) -> Empty:
        """Add a process, which Start starts."""
        if not request.exec_id:
            raise InvalidArgument("exec id cannot be empty")
        asked = shim_messages.ExecProcessRequest(
            id=request.container_id,
            exec_id=request.exec_id,
            terminal=request.terminal,
            stdin=request.stdin,
            stdout=request.stdout,
            stderr=request.stderr,
            spec=request.spec or Any(),
        )
        return await self._tell(call, "Exec", asked)

    async def resize_pty(self, call: Call, request: messages.ResizePtyRequest) -> Empty:
        """Give a terminal another size."""
        asked = shim_messages.ResizePtyRequest(
            id=request.container_id, exec_id=request.exec_id, width=request.width, height=request.height
        )
        return await self._tell(call, "ResizePty", asked)

    async def close_io(self, call: Call, request: messages.CloseIORequest) -> Empty:
        """Let a process read the end of its standard input."""
        asked = shim_messages.CloseIORequest(
            id=request.container_id, exec_id=request.exec_id, stdin=request.stdin
        )
        return await self._tell(call, "CloseIO", asked)

    async def pause(self, call: Call, request: messages.PauseTaskRequest) -> Empty:
        """Freeze a task."""
        return await self._tell(call, "Pause", shim_messages.PauseRequest(id=request.container_id))

    async def resume(self, call: Call, request: messages.ResumeTaskRequest) -> Empty:
        """Thaw a task."""
        return await self._tell(call, "Resume", shim_messages.ResumeRequest(id=request.container_id))

    async def list_pids(self, call: Call, request: messages.ListPidsRequest) -> messages.ListPidsResponse:
        """All processes of a task."""
        shim = await self._shim(call, request.container_id)
        asked = shim_messages.PidsRequest(id=request.container_id)
        found = await shim.call("Pids", asked)
        return messages.ListPidsResponse(processes=found.processes)

    async def update(self, call: Call, request: messages.UpdateTaskRequest) -> Empty:
        """Change limits."""
        asked = shim_messages.UpdateTaskRequest(
            id=request.container_id, resources=request.resources or Any(), annotations=request.annotations
        )
        return await self._tell(call, "Update", asked)

    async def metrics(self, call: Call, request: messages.MetricsRequest) -> messages.MetricsResponse:
        """What the tasks use that the filters choose."""
        chosen = filters.parse(request.filters)
        found = []
        for shim in await self._manager.list(call.namespace):
            if not chosen.matches(_fields(shim)):
                continue
            try:
                asked = shim_messages.StatsRequest(id=shim.id)
                stats = await shim.call("Stats", asked)
            except ClocheError:
                continue  # it has ended
            found.append(Metric(timestamp=Timestamp.of(clock.now()), id=shim.id, data=stats.stats))
        return messages.MetricsResponse(metrics=found)

    async def wait(self, call: Call, request: messages.WaitRequest) -> messages.WaitResponse:
        """Answer when a process has ended."""
        ended = await self._manager.wait(call.namespace, request.container_id, request.exec_id)
        return messages.WaitResponse(exit_status=ended.exit_status, exited_at=ended.exited_at)

    async def _tell(self, call: Call, method: str, asked: Message) -> Empty:
        task_id: str = asked.id  # type: ignore[attr-defined]  # all requests of the task service have one
        await (await self._shim(call, task_id)).call(method, asked)
        return Empty()


async def _process(shim: Shim, exec_id: str) -> Process:
    state = await shim.state(exec_id)
    return Process(
        container_id=shim.id,
        id=exec_id or shim.id,
        pid=state.pid,
        status=state.status,
        stdin=state.stdin,
        stdout=state.stdout,
        stderr=state.stderr,
        terminal=state.terminal,
        exit_status=state.exit_status,
        exited_at=state.exited_at,
    )


def _fields(shim: Shim) -> filters.Fields:
    plain = {"id": shim.id, "namespace": shim.bundle.namespace}
    return lambda path: plain.get(path[0]) if len(path) == 1 else None
