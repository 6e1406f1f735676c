"""The task service's messages: what runs (containerd.services.tasks.v1)."""

from __future__ import annotations

from cloche.wire.messages.google import Any, Empty, Timestamp
from cloche.wire.messages.types import Descriptor, Metric, Mount, Process, ProcessInfo
from cloche.wire.protobuf import Message, boolean, mapping, message, repeated, string, uint32
from cloche.wire.protobuf_values import STRING
from cloche.wire.service import Method, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "containerd.services.tasks.v1"


class CreateTaskRequest(Message, package=_PACKAGE):
    """Make a container's processes, up to where they would start. rootfs: what its root file system is."""

    container_id: str = string(1)
    rootfs: Sequence[Mount] = repeated(3, Mount)
    stdin: str = string(4)
    stdout: str = string(5)
    stderr: str = string(6)
    terminal: bool = boolean(7)
    checkpoint: Descriptor | None = message(8, Descriptor)
    options: Any | None = message(9, Any)
    runtime_path: str = string(10)
    task_api_address: str = string(11)
    task_api_version: int = uint32(12)


class CreateTaskResponse(Message, package=_PACKAGE):
    """The pid of the first process."""

    container_id: str = string(1)
    pid: int = uint32(2)


class StartRequest(Message, package=_PACKAGE):
    """Start a task, or one of its further processes."""

    container_id: str = string(1)
    exec_id: str = string(2)


class StartResponse(Message, package=_PACKAGE):
    """The pid of what was started."""

    pid: int = uint32(1)


class DeleteTaskRequest(Message, package=_PACKAGE):
    """Forget a task that has ended."""

    container_id: str = string(1)


class DeleteResponse(Message, package=_PACKAGE):
    """How it had ended."""

    id: str = string(1)
    pid: int = uint32(2)
    exit_status: int = uint32(3)
    exited_at: Timestamp | None = message(4, Timestamp)


class DeleteProcessRequest(Message, package=_PACKAGE):
    """Forget a further process that has ended."""

    container_id: str = string(1)
    exec_id: str = string(2)


class GetRequest(Message, package=_PACKAGE):
    """Ask for one process."""

    container_id: str = string(1)
    exec_id: str = string(2)


class GetResponse(Message, package=_PACKAGE):
    """The process."""

    process: Process | None = message(1, Process)


class ListTasksRequest(Message, package=_PACKAGE):
    """Ask for all tasks of the namespace."""

    filter: str = string(1)


class ListTasksResponse(Message, package=_PACKAGE):
    """The first process of each."""

    tasks: Sequence[Process] = repeated(1, Process)


class KillRequest(Message, package=_PACKAGE):
    """Send a signal to a process, or to all."""

    container_id: str = string(1)
    exec_id: str = string(2)
    signal: int = uint32(3)
    all: bool = boolean(4)


class ExecProcessRequest(Message, package=_PACKAGE):
    """Add a process, which Start starts. spec: config.json's `process` as JSON."""

    container_id: str = string(1)
    stdin: str = string(2)
    stdout: str = string(3)
    stderr: str = string(4)
    terminal: bool = boolean(5)
    spec: Any | None = message(6, Any)
    exec_id: str = string(7)


class ExecProcessResponse(Message, package=_PACKAGE):
    """It is added."""


class ResizePtyRequest(Message, package=_PACKAGE):
    """Give a terminal another size, in characters."""

    container_id: str = string(1)
    exec_id: str = string(2)
    width: int = uint32(3)
    height: int = uint32(4)


class CloseIORequest(Message, package=_PACKAGE):
    """Let a process read the end of its standard input."""

    container_id: str = string(1)
    exec_id: str = string(2)
    stdin: bool = boolean(3)


class PauseTaskRequest(Message, package=_PACKAGE):
    """Freeze a task."""

    container_id: str = string(1)


class ResumeTaskRequest(Message, package=_PACKAGE):
    """Thaw a task."""

    container_id: str = string(1)


class ListPidsRequest(Message, package=_PACKAGE):
    """Ask for all processes of a task."""

    container_id: str = string(1)


class ListPidsResponse(Message, package=_PACKAGE):
    """All processes, as the host numbers them."""

    processes: Sequence[ProcessInfo] = repeated(1, ProcessInfo)


class CheckpointTaskRequest(Message, package=_PACKAGE):
    """Write a task's state down."""

    container_id: str = string(1)
    parent_checkpoint: str = string(2)
    options: Any | None = message(3, Any)


class CheckpointTaskResponse(Message, package=_PACKAGE):
    """What was written, in the content store."""

    descriptors: Sequence[Descriptor] = repeated(1, Descriptor)


class UpdateTaskRequest(Message, package=_PACKAGE):
    """Change limits. resources: config.json's `linux.resources` as JSON."""

    container_id: str = string(1)
    resources: Any | None = message(2, Any)
    annotations: Mapping[str, str] = mapping(3, STRING, STRING)


class MetricsRequest(Message, package=_PACKAGE):
    """Ask what tasks use. filters: any of them has to match."""

    filters: Sequence[str] = repeated(1, STRING)


class MetricsResponse(Message, package=_PACKAGE):
    """What they use."""

    metrics: Sequence[Metric] = repeated(1, Metric)


class WaitRequest(Message, package=_PACKAGE):
    """Ask for the end of a process; the answer comes when it has ended."""

    container_id: str = string(1)
    exec_id: str = string(2)


class WaitResponse(Message, package=_PACKAGE):
    """How it ended."""

    exit_status: int = uint32(1)
    exited_at: Timestamp | None = message(2, Timestamp)


TASKS = Service(
    f"{_PACKAGE}.Tasks",
    Method("Create", CreateTaskRequest, CreateTaskResponse),
    Method("Start", StartRequest, StartResponse),
    Method("Delete", DeleteTaskRequest, DeleteResponse),
    Method("DeleteProcess", DeleteProcessRequest, DeleteResponse),
    Method("Get", GetRequest, GetResponse),
    Method("List", ListTasksRequest, ListTasksResponse),
    Method("Kill", KillRequest, Empty),
    Method("Exec", ExecProcessRequest, Empty),
    Method("ResizePty", ResizePtyRequest, Empty),
    Method("CloseIO", CloseIORequest, Empty),
    Method("Pause", PauseTaskRequest, Empty),
    Method("Resume", ResumeTaskRequest, Empty),
    Method("ListPids", ListPidsRequest, ListPidsResponse),
    Method("Checkpoint", CheckpointTaskRequest, CheckpointTaskResponse),
    Method("Update", UpdateTaskRequest, Empty),
    Method("Metrics", MetricsRequest, MetricsResponse),
    Method("Wait", WaitRequest, WaitResponse, lasting=True),
)
