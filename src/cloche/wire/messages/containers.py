"""The container service's messages: what was asked for (containerd.services.containers.v1)."""

from __future__ import annotations

from cloche.wire.messages.google import Any, Empty, FieldMask, Timestamp
from cloche.wire.protobuf import Message, mapping, message, repeated, string
from cloche.wire.protobuf_values import STRING
from cloche.wire.service import Method, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "containerd.services.containers.v1"


class ContainerRuntime(Message, package=_PACKAGE, name="Container.Runtime"):
    """What runs a container."""

    name: str = string(1)
    options: Any | None = message(2, Any)


class Container(Message, package=_PACKAGE):
    """What was asked for. spec: config.json as JSON; sandbox: the pod it belongs to."""

    id: str = string(1)
    labels: Mapping[str, str] = mapping(2, STRING, STRING)
    image: str = string(3)
    runtime: ContainerRuntime | None = message(4, ContainerRuntime)
    spec: Any | None = message(5, Any)
    snapshotter: str = string(6)
    snapshot_key: str = string(7)
    created_at: Timestamp | None = message(8, Timestamp)
    updated_at: Timestamp | None = message(9, Timestamp)
    extensions: Mapping[str, Any] = mapping(10, STRING, Any)
    sandbox: str = string(11)


class GetContainerRequest(Message, package=_PACKAGE):
    """Ask for one container."""

    id: str = string(1)


class GetContainerResponse(Message, package=_PACKAGE):
    """The container."""

    container: Container | None = message(1, Container)


class ListContainersRequest(Message, package=_PACKAGE):
    """Ask for containers. filters: any of them has to match."""

    filters: Sequence[str] = repeated(1, STRING)


class ListContainersResponse(Message, package=_PACKAGE):
    """The containers."""

    containers: Sequence[Container] = repeated(1, Container)


class CreateContainerRequest(Message, package=_PACKAGE):
    """Make a container; nothing runs yet."""

    container: Container | None = message(1, Container)


class CreateContainerResponse(Message, package=_PACKAGE):
    """The container as it was made."""

    container: Container | None = message(1, Container)


class UpdateContainerRequest(Message, package=_PACKAGE):
    """Change a container: the fields that the mask names, or all that may change."""

    container: Container | None = message(1, Container)
    update_mask: FieldMask | None = message(2, FieldMask)


class UpdateContainerResponse(Message, package=_PACKAGE):
    """The container as it is now."""

    container: Container | None = message(1, Container)


class DeleteContainerRequest(Message, package=_PACKAGE):
    """Forget a container."""

    id: str = string(1)


class ListContainerMessage(Message, package=_PACKAGE):
    """One container of a list."""

    container: Container | None = message(1, Container)


CONTAINERS = Service(
    f"{_PACKAGE}.Containers",
    Method("Get", GetContainerRequest, GetContainerResponse),
    Method("List", ListContainersRequest, ListContainersResponse),
    Method("ListStream", ListContainersRequest, ListContainerMessage, server_streaming=True),
    Method("Create", CreateContainerRequest, CreateContainerResponse),
    Method("Update", UpdateContainerRequest, UpdateContainerResponse),
    Method("Delete", DeleteContainerRequest, Empty),
)
