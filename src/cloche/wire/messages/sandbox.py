"""What containerd 2 asks a shim about a pod: the messages of `containerd.runtime.sandbox.v1.Sandbox`."""

from __future__ import annotations

from cloche.wire.messages.google import Any, Timestamp
from cloche.wire.messages.types import Metric, Mount, Platform
from cloche.wire.protobuf import Message, boolean, mapping, message, repeated, string, uint32
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "containerd.runtime.sandbox.v1"


class CreateSandboxRequest(Message, package=_PACKAGE):
    """Prepare a pod. netns_path: the network namespace it lives in, empty for the host's."""

    sandbox_id: str = string(1)
    bundle_path: str = string(2)
    rootfs: Sequence[Mount] = repeated(3, Mount)
    options: Any | None = message(4, Any)
    netns_path: str = string(5)
    annotations: Mapping[str, str] = mapping(6, STRING, STRING)


class CreateSandboxResponse(Message, package=_PACKAGE):
    """Nothing."""


class StartSandboxRequest(Message, package=_PACKAGE):
    """Start a pod."""

    sandbox_id: str = string(1)


class StartSandboxResponse(Message, package=_PACKAGE):
    """The pid that stands for the pod, and since when."""

    pid: int = uint32(1)
    created_at: Timestamp | None = message(2, Timestamp)
    spec: Any | None = message(3, Any)


class PlatformRequest(Message, package=_PACKAGE):
    """Ask what the pod's containers run on."""

    sandbox_id: str = string(1)


class PlatformResponse(Message, package=_PACKAGE):
    """What the pod's containers run on."""

    platform: Platform | None = message(1, Platform)


class StopSandboxRequest(Message, package=_PACKAGE):
    """End a pod. timeout_secs: how long its processes have."""

    sandbox_id: str = string(1)
    timeout_secs: int = uint32(2)


class StopSandboxResponse(Message, package=_PACKAGE):
    """Nothing."""


class WaitSandboxRequest(Message, package=_PACKAGE):
    """Ask for the end of a pod; the answer comes when it has ended."""

    sandbox_id: str = string(1)


class WaitSandboxResponse(Message, package=_PACKAGE):
    """How a pod ended."""

    exit_status: int = uint32(1)
    exited_at: Timestamp | None = message(2, Timestamp)


class SandboxStatusRequest(Message, package=_PACKAGE):
    """Ask how a pod is."""

    sandbox_id: str = string(1)
    verbose: bool = boolean(2)


class SandboxStatusResponse(Message, package=_PACKAGE):
    """How a pod is. state: SANDBOX_READY or SANDBOX_NOTREADY."""

    sandbox_id: str = string(1)
    pid: int = uint32(2)
    state: str = string(3)
    info: Mapping[str, str] = mapping(4, STRING, STRING)
    created_at: Timestamp | None = message(5, Timestamp)
    exited_at: Timestamp | None = message(6, Timestamp)
    extra: Any | None = message(7, Any)


class PingRequest(Message, package=_PACKAGE):
    """Ask whether the shim answers."""

    sandbox_id: str = string(1)


class PingResponse(Message, package=_PACKAGE):
    """It does."""


class ShutdownSandboxRequest(Message, package=_PACKAGE):
    """End the pod's shim."""

    sandbox_id: str = string(1)


class ShutdownSandboxResponse(Message, package=_PACKAGE):
    """Nothing."""


class SandboxMetricsRequest(Message, package=_PACKAGE):
    """Ask what a pod uses."""

    sandbox_id: str = string(1)


class SandboxMetricsResponse(Message, package=_PACKAGE):
    """What a pod uses."""

    metrics: Metric | None = message(1, Metric)
