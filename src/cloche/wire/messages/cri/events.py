"""What happens to containers, told as it happens."""

from __future__ import annotations

from cloche.wire.messages.cri.pods import PodSandboxStatus
from cloche.wire.messages.cri.status import ContainerStatus
from cloche.wire.protobuf import Message, enumeration, int64, message, repeated, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGE = "runtime.v1"

CREATED, STARTED, STOPPED, DELETED = 0, 1, 2, 3
"""ContainerEventResponse.container_event_type."""


class GetEventsRequest(Message, package=_PACKAGE):
    """Ask to be told."""


class ContainerEventResponse(Message, package=_PACKAGE):
    """What happened, and how pod and containers are then."""

    container_id: str = string(1)
    container_event_type: int = enumeration(2)
    created_at: int = int64(3)
    pod_sandbox_status: PodSandboxStatus | None = message(4, PodSandboxStatus)
    containers_statuses: Sequence[ContainerStatus] = repeated(5, ContainerStatus)
