"""What containerd asks a shim: the messages of `containerd.task.v2.Task` and `.v3.Task`, which are equal."""

from __future__ import annotations

from cloche.wire.messages.google import Any, Timestamp
from cloche.wire.messages.types import Mount, ProcessInfo
from cloche.wire.protobuf import Message, boolean, enumeration, mapping, message, repeated, string, uint32
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "containerd.task.v2"


class CreateTaskRequest(Message, package=_PACKAGE):
    """Make a container of a bundle. rootfs: empty where the bundle brings its own."""

    id: str = string(1)
    bundle: str = string(2)
    rootfs: Sequence[Mount] = repeated(3, Mount)
    terminal: bool = boolean(4)
    stdin: str = string(5)
    stdout: str = string(6)
    stderr: str = string(7)
    checkpoint: str = string(8)
    parent_checkpoint: str = string(9)
    options: Any | None = message(10, Any)


class CreateTaskResponse(Message, package=_PACKAGE):
    """The pid of the container's first process."""

    pid: int = uint32(1)


class DeleteRequest(Message, package=_PACKAGE):
    """Forget a container, or one of its further processes."""

    id: str = string(1)
    exec_id: str = string(2)


class DeleteResponse(Message, package=_PACKAGE):
    """How it had ended. `delete` of a shim's command prints this too."""

    pid: int = uint32(1)
    exit_status: int = uint32(2)
    exited_at: Timestamp | None = message(3, Timestamp)


class ExecProcessRequest(Message, package=_PACKAGE):
    """Add a process, which Start starts. spec: config.json's `process` as JSON in an Any."""

    id: str = string(1)
    exec_id: str = string(2)
    terminal: bool = boolean(3)
    stdin: str = string(4)
    stdout: str = string(5)
    stderr: str = string(6)
    spec: Any | None = message(7, Any)


class ResizePtyRequest(Message, package=_PACKAGE):
    """Give a terminal another size, in characters."""

    id: str = string(1)
    exec_id: str = string(2)
    width: int = uint32(3)
    height: int = uint32(4)


class StateRequest(Message, package=_PACKAGE):
    """Ask for a process."""

    id: str = string(1)
    exec_id: str = string(2)


class StateResponse(Message, package=_PACKAGE):
    """A process. status: see messages.types."""

    id: str = string(1)
    bundle: str = string(2)
    pid: int = uint32(3)
    status: int = enumeration(4)
    stdin: str = string(5)
    stdout: str = string(6)
    stderr: str = string(7)
    terminal: bool = boolean(8)
    exit_status: int = uint32(9)
    exited_at: Timestamp | None = message(10, Timestamp)
    exec_id: str = string(11)


class KillRequest(Message, package=_PACKAGE):
    """Signal a process, or all of the container."""

    id: str = string(1)
    exec_id: str = string(2)
    signal: int = uint32(3)
    all: bool = boolean(4)


class CloseIORequest(Message, package=_PACKAGE):
    """Let a process read the end of its standard input."""

    id: str = string(1)
    exec_id: str = string(2)
    stdin: bool = boolean(3)


class PidsRequest(Message, package=_PACKAGE):
    """Ask for all processes of a container."""

    id: str = string(1)


class PidsResponse(Message, package=_PACKAGE):
    """All processes of a container, as the host numbers them."""

    processes: Sequence[ProcessInfo] = repeated(1, ProcessInfo)


class CheckpointTaskRequest(Message, package=_PACKAGE):
    """Write a container's state into a folder. options: runc_options.CheckpointOptions."""

    id: str = string(1)
    path: str = string(2)
    options: Any | None = message(3, Any)


class UpdateTaskRequest(Message, package=_PACKAGE):
    """Change limits. resources: config.json's `linux.resources` as JSON in an Any."""

    id: str = string(1)
    resources: Any | None = message(2, Any)
    annotations: Mapping[str, str] = mapping(3, STRING, STRING)


class StartRequest(Message, package=_PACKAGE):
    """Start a process."""

    id: str = string(1)
    exec_id: str = string(2)


class StartResponse(Message, package=_PACKAGE):
    """The started process."""

    pid: int = uint32(1)


class WaitRequest(Message, package=_PACKAGE):
    """Ask for the end of a process; the answer comes when it has ended."""

    id: str = string(1)
    exec_id: str = string(2)


class WaitResponse(Message, package=_PACKAGE):
    """How a process ended. exit_status: the exit code, or 128 and the signal."""

    exit_status: int = uint32(1)
    exited_at: Timestamp | None = message(2, Timestamp)


class StatsRequest(Message, package=_PACKAGE):
    """Ask what a container uses."""

    id: str = string(1)


class StatsResponse(Message, package=_PACKAGE):
    """stats: metrics_v1.Metrics or metrics_v2.Metrics."""

    stats: Any | None = message(1, Any)


class ConnectRequest(Message, package=_PACKAGE):
    """Ask who answers."""

    id: str = string(1)


class ConnectResponse(Message, package=_PACKAGE):
    """The shim's pid, the container's, and the shim's version."""

    shim_pid: int = uint32(1)
    task_pid: int = uint32(2)
    version: str = string(3)


class ShutdownRequest(Message, package=_PACKAGE):
    """End the shim, unless it still has containers."""

    id: str = string(1)
    now: bool = boolean(2)


class PauseRequest(Message, package=_PACKAGE):
    """Freeze a container."""

    id: str = string(1)


class ResumeRequest(Message, package=_PACKAGE):
    """Thaw a container."""

    id: str = string(1)
