"""The sandbox store's and controller's messages (containerd.services.sandbox.v1)."""

from __future__ import annotations

from cloche.wire.messages.google import Any, Timestamp
from cloche.wire.messages.types import Metric, Mount, Platform, Sandbox
from cloche.wire.protobuf import Message, boolean, mapping, message, repeated, string, uint32
from cloche.wire.protobuf_values import STRING
from cloche.wire.service import Method, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "containerd.services.sandbox.v1"


class StoreCreateRequest(Message, package=_PACKAGE):
    """Keep a sandbox."""

    sandbox: Sandbox | None = message(1, Sandbox)


class StoreCreateResponse(Message, package=_PACKAGE):
    """The sandbox as it was kept."""

    sandbox: Sandbox | None = message(1, Sandbox)


class StoreUpdateRequest(Message, package=_PACKAGE):
    """Change fields of a sandbox."""

    sandbox: Sandbox | None = message(1, Sandbox)
    fields: Sequence[str] = repeated(2, STRING)


class StoreUpdateResponse(Message, package=_PACKAGE):
    """The sandbox as it is now."""

    sandbox: Sandbox | None = message(1, Sandbox)


class StoreDeleteRequest(Message, package=_PACKAGE):
    """Forget a sandbox."""

    sandbox_id: str = string(1)


class StoreDeleteResponse(Message, package=_PACKAGE):
    """It is forgotten."""


class StoreListRequest(Message, package=_PACKAGE):
    """Ask for sandboxes. filters: any of them has to match."""

    filters: Sequence[str] = repeated(1, STRING)


class StoreListResponse(Message, package=_PACKAGE):
    """The sandboxes."""

    list: Sequence[Sandbox] = repeated(1, Sandbox)


class StoreGetRequest(Message, package=_PACKAGE):
    """Ask for one sandbox."""

    sandbox_id: str = string(1)


class StoreGetResponse(Message, package=_PACKAGE):
    """The sandbox."""

    sandbox: Sandbox | None = message(1, Sandbox)


class ControllerCreateRequest(Message, package=_PACKAGE):
    """Make what a sandbox needs before it can start."""

    sandbox_id: str = string(1)
    rootfs: Sequence[Mount] = repeated(2, Mount)
    options: Any | None = message(3, Any)
    netns_path: str = string(4)
    annotations: Mapping[str, str] = mapping(5, STRING, STRING)
    sandbox: Sandbox | None = message(6, Sandbox)
    sandboxer: str = string(10)


class ControllerCreateResponse(Message, package=_PACKAGE):
    """It is made."""

    sandbox_id: str = string(1)


class ControllerStartRequest(Message, package=_PACKAGE):
    """Start a sandbox."""

    sandbox_id: str = string(1)
    sandboxer: str = string(10)


class ControllerStartResponse(Message, package=_PACKAGE):
    """What runs, and where its task service answers."""

    sandbox_id: str = string(1)
    pid: int = uint32(2)
    created_at: Timestamp | None = message(3, Timestamp)
    labels: Mapping[str, str] = mapping(4, STRING, STRING)
    address: str = string(5)
    version: int = uint32(6)
    spec: Any | None = message(7, Any)


class ControllerPlatformRequest(Message, package=_PACKAGE):
    """Ask what a sandbox runs on."""

    sandbox_id: str = string(1)
    sandboxer: str = string(10)


class ControllerPlatformResponse(Message, package=_PACKAGE):
    """Its operating system and architecture."""

    platform: Platform | None = message(1, Platform)


class ControllerStopRequest(Message, package=_PACKAGE):
    """Stop a sandbox. timeout_secs: how long it may take."""

    sandbox_id: str = string(1)
    timeout_secs: int = uint32(2)
    sandboxer: str = string(10)


class ControllerStopResponse(Message, package=_PACKAGE):
    """It has stopped."""


class ControllerWaitRequest(Message, package=_PACKAGE):
    """Ask for a sandbox's end; the answer comes when it has ended."""

    sandbox_id: str = string(1)
    sandboxer: str = string(10)


class ControllerWaitResponse(Message, package=_PACKAGE):
    """How it ended."""

    exit_status: int = uint32(1)
    exited_at: Timestamp | None = message(2, Timestamp)


class ControllerStatusRequest(Message, package=_PACKAGE):
    """Ask how a sandbox is. verbose: with all that is known."""

    sandbox_id: str = string(1)
    verbose: bool = boolean(2)
    sandboxer: str = string(10)


class ControllerStatusResponse(Message, package=_PACKAGE):
    """How it is."""

    sandbox_id: str = string(1)
    pid: int = uint32(2)
    state: str = string(3)
    info: Mapping[str, str] = mapping(4, STRING, STRING)
    created_at: Timestamp | None = message(5, Timestamp)
    exited_at: Timestamp | None = message(6, Timestamp)
    extra: Any | None = message(7, Any)
    address: str = string(8)
    version: int = uint32(9)


class ControllerShutdownRequest(Message, package=_PACKAGE):
    """Remove all that was a sandbox's."""

    sandbox_id: str = string(1)
    sandboxer: str = string(10)


class ControllerShutdownResponse(Message, package=_PACKAGE):
    """It is removed."""


class ControllerMetricsRequest(Message, package=_PACKAGE):
    """Ask what a sandbox uses."""

    sandbox_id: str = string(1)
    sandboxer: str = string(10)


class ControllerMetricsResponse(Message, package=_PACKAGE):
    """What it uses."""

    metrics: Metric | None = message(1, Metric)


class ControllerUpdateRequest(Message, package=_PACKAGE):
    """Change a running sandbox."""

    sandbox_id: str = string(1)
    sandboxer: str = string(2)
    sandbox: Sandbox | None = message(3, Sandbox)
    fields: Sequence[str] = repeated(4, STRING)


class ControllerUpdateResponse(Message, package=_PACKAGE):
    """It is changed."""


STORE = Service(
    f"{_PACKAGE}.Store",
    Method("Create", StoreCreateRequest, StoreCreateResponse),
    Method("Update", StoreUpdateRequest, StoreUpdateResponse),
    Method("Delete", StoreDeleteRequest, StoreDeleteResponse),
    Method("List", StoreListRequest, StoreListResponse),
    Method("Get", StoreGetRequest, StoreGetResponse),
)


CONTROLLER = Service(
    f"{_PACKAGE}.Controller",
    Method("Create", ControllerCreateRequest, ControllerCreateResponse),
    Method("Start", ControllerStartRequest, ControllerStartResponse),
    Method("Platform", ControllerPlatformRequest, ControllerPlatformResponse),
    Method("Stop", ControllerStopRequest, ControllerStopResponse),
    Method("Wait", ControllerWaitRequest, ControllerWaitResponse, lasting=True),
    Method("Status", ControllerStatusRequest, ControllerStatusResponse),
    Method("Shutdown", ControllerShutdownRequest, ControllerShutdownResponse),
    Method("Metrics", ControllerMetricsRequest, ControllerMetricsResponse),
    Method("Update", ControllerUpdateRequest, ControllerUpdateResponse),
)
