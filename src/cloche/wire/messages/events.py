"""What happens to tasks: `containerd.events`, and how a shim tells containerd."""

from __future__ import annotations

from cloche.wire.messages.google import Timestamp
from cloche.wire.messages.types import Envelope, Mount
from cloche.wire.protobuf import Message, boolean, message, repeated, string, uint32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGE = "containerd.events"


class TaskIO(Message, package=_PACKAGE):
    """Where a task's streams lead."""

    stdin: str = string(1)
    stdout: str = string(2)
    stderr: str = string(3)
    terminal: bool = boolean(4)


class TaskCreate(Message, package=_PACKAGE):
    """A container was made."""

    container_id: str = string(1)
    bundle: str = string(2)
    rootfs: Sequence[Mount] = repeated(3, Mount)
    io: TaskIO | None = message(4, TaskIO)
    checkpoint: str = string(5)
    pid: int = uint32(6)


class TaskStart(Message, package=_PACKAGE):
    """A container's program runs."""

    container_id: str = string(1)
    pid: int = uint32(2)


class TaskDelete(Message, package=_PACKAGE):
    """A container is gone. id: of the further process, where it was one."""

    container_id: str = string(1)
    pid: int = uint32(2)
    exit_status: int = uint32(3)
    exited_at: Timestamp | None = message(4, Timestamp)
    id: str = string(5)


class TaskExit(Message, package=_PACKAGE):
    """A process ended. id: the container's own, or the further process's."""

    container_id: str = string(1)
    id: str = string(2)
    pid: int = uint32(3)
    exit_status: int = uint32(4)
    exited_at: Timestamp | None = message(5, Timestamp)


class TaskOOM(Message, package=_PACKAGE):
    """A container ran out of memory."""

    container_id: str = string(1)


class TaskExecAdded(Message, package=_PACKAGE):
    """A further process is known; it does not run yet."""

    container_id: str = string(1)
    exec_id: str = string(2)


class TaskExecStarted(Message, package=_PACKAGE):
    """A further process runs."""

    container_id: str = string(1)
    exec_id: str = string(2)
    pid: int = uint32(3)


class TaskPaused(Message, package=_PACKAGE):
    """A container was frozen."""

    container_id: str = string(1)


class TaskResumed(Message, package=_PACKAGE):
    """A container was thawed."""

    container_id: str = string(1)


class TaskCheckpointed(Message, package=_PACKAGE):
    """A container's state was written down. checkpoint: where."""

    container_id: str = string(1)
    checkpoint: str = string(2)


class ForwardRequest(Message, package="containerd.services.events.ttrpc.v1"):
    """A shim's event, on its way to containerd."""

    envelope: Envelope | None = message(1, Envelope)


TOPICS: dict[type[Message], str] = {
    TaskCreate: "/tasks/create",
    TaskStart: "/tasks/start",
    TaskOOM: "/tasks/oom",
    TaskExit: "/tasks/exit",
    TaskDelete: "/tasks/delete",
    TaskExecAdded: "/tasks/exec-added",
    TaskExecStarted: "/tasks/exec-started",
    TaskPaused: "/tasks/paused",
    TaskResumed: "/tasks/resumed",
    TaskCheckpointed: "/tasks/checkpointed",
}
"""Under which name each event is published."""
