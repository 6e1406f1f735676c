"""How a container is."""

from __future__ import annotations

from cloche.wire.messages.cri.containers import ContainerMetadata, Mount
from cloche.wire.messages.cri.images import ImageSpec
from cloche.wire.messages.cri.resources import ContainerResources
from cloche.wire.protobuf import (
    Message,
    boolean,
    enumeration,
    int32,
    int64,
    mapping,
    message,
    repeated,
    string,
)
from cloche.wire.protobuf_values import INT64, STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "runtime.v1"


class LinuxContainerUser(Message, package=_PACKAGE):
    """The user and groups of the first process when it began."""

    uid: int = int64(1)
    gid: int = int64(2)
    supplemental_groups: Sequence[int] = repeated(3, INT64)


class ContainerStatusRequest(Message, package=_PACKAGE):
    """Ask how a container is. verbose: with all that is known."""

    container_id: str = string(1)
    verbose: bool = boolean(2)


class ContainerUser(Message, package=_PACKAGE):
    """Who the first process is."""

    linux: LinuxContainerUser | None = message(1, LinuxContainerUser)


class ContainerStatus(Message, package=_PACKAGE):
    """How a container is. Times in ns since 1970; reason: a word, message: a sentence."""

    id: str = string(1)
    metadata: ContainerMetadata | None = message(2, ContainerMetadata)
    state: int = enumeration(3)
    created_at: int = int64(4)
    started_at: int = int64(5)
    finished_at: int = int64(6)
    exit_code: int = int32(7)
    image: ImageSpec | None = message(8, ImageSpec)
    image_ref: str = string(9)
    reason: str = string(10)
    labels: Mapping[str, str] = mapping(12, STRING, STRING)
    annotations: Mapping[str, str] = mapping(13, STRING, STRING)
    mounts: Sequence[Mount] = repeated(14, Mount)
    log_path: str = string(15)
    resources: ContainerResources | None = message(16, ContainerResources)
    image_id: str = string(17)
    user: ContainerUser | None = message(18, ContainerUser)
    stop_signal: int = enumeration(19)
    message: str = string(11)


class ContainerStatusResponse(Message, package=_PACKAGE):
    """How it is."""

    status: ContainerStatus | None = message(1, ContainerStatus)
    info: Mapping[str, str] = mapping(2, STRING, STRING)
