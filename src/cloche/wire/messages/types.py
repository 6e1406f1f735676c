"""containerd's shared values: mounts, processes, envelopes of events, metrics, platforms."""

from __future__ import annotations

from cloche.wire.messages.google import Any, Timestamp
from cloche.wire.protobuf import (
    Message,
    boolean,
    enumeration,
    int64,
    mapping,
    message,
    repeated,
    string,
    uint32,
)
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "containerd.types"
_TASK_PACKAGE = "containerd.v1.types"

UNKNOWN, CREATED, RUNNING, STOPPED, PAUSED, PAUSING = range(6)
"""The values of a process's status."""

STATUS_NAMES = ("unknown", "created", "running", "stopped", "paused", "pausing")


class Mount(Message, package=_PACKAGE):
    """One thing to mount; target: below the root file system, mostly empty."""

    type: str = string(1)
    source: str = string(2)
    target: str = string(3)
    options: Sequence[str] = repeated(4, STRING)


class Process(Message, package=_TASK_PACKAGE):
    """A process as containerd's task service shows it. status: see UNKNOWN and its neighbours."""

    container_id: str = string(1)
    id: str = string(2)
    pid: int = uint32(3)
    status: int = enumeration(4)
    stdin: str = string(5)
    stdout: str = string(6)
    stderr: str = string(7)
    terminal: bool = boolean(8)
    exit_status: int = uint32(9)
    exited_at: Timestamp | None = message(10, Timestamp)


class ProcessInfo(Message, package=_TASK_PACKAGE):
    """One pid of a container. info: what the runtime knows of it (runc_options.ProcessDetails)."""

    pid: int = uint32(1)
    info: Any | None = message(2, Any)


class Envelope(Message, package=_PACKAGE):
    """An event, with when and where it happened."""

    timestamp: Timestamp | None = message(1, Timestamp)
    namespace: str = string(2)
    topic: str = string(3)
    event: Any | None = message(4, Any)


class Metric(Message, package=_PACKAGE):
    """What something used at one moment."""

    timestamp: Timestamp | None = message(1, Timestamp)
    id: str = string(2)
    data: Any | None = message(3, Any)


class Platform(Message, package=_PACKAGE):
    """What an image or a sandbox runs on."""

    os: str = string(1)
    architecture: str = string(2)
    variant: str = string(3)
    os_version: str = string(4)
    os_features: Sequence[str] = repeated(5, STRING)


class Descriptor(Message, package=_PACKAGE):
    """Content, by digest and size in bytes."""

    media_type: str = string(1)
    digest: str = string(2)
    size: int = int64(3)
    annotations: Mapping[str, str] = mapping(5, STRING, STRING)


class ActiveMount(Message, package=_PACKAGE):
    """A mount that containerd's mount manager made, and where."""

    mount: Mount | None = message(1, Mount)
    mounted_at: Timestamp | None = message(2, Timestamp)
    mount_point: str = string(3)
    data: Mapping[str, str] = mapping(4, STRING, STRING)


class ActivationInfo(Message, package=_PACKAGE):
    """Mounts under one name: those made already, and those left to the caller."""

    name: str = string(1)
    active: Sequence[ActiveMount] = repeated(2, ActiveMount)
    system: Sequence[Mount] = repeated(3, Mount)
    labels: Mapping[str, str] = mapping(4, STRING, STRING)


class SandboxRuntime(Message, package=_PACKAGE, name="Sandbox.Runtime"):
    """What runs a pod."""

    name: str = string(1)
    options: Any | None = message(2, Any)


class Sandbox(Message, package=_PACKAGE):
    """A pod as containerd keeps it. spec: its configuration, kin of config.json."""

    sandbox_id: str = string(1)
    runtime: SandboxRuntime | None = message(2, SandboxRuntime)
    spec: Any | None = message(3, Any)
    labels: Mapping[str, str] = mapping(4, STRING, STRING)
    created_at: Timestamp | None = message(5, Timestamp)
    updated_at: Timestamp | None = message(6, Timestamp)
    extensions: Mapping[str, Any] = mapping(7, STRING, Any)
    sandboxer: str = string(10)
