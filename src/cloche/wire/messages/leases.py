"""The lease service's messages: what must not be collected (containerd.services.leases.v1)."""

from __future__ import annotations

from cloche.wire.messages.google import Empty, Timestamp
from cloche.wire.protobuf import Message, boolean, mapping, message, repeated, string
from cloche.wire.protobuf_values import STRING
from cloche.wire.service import Method, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "containerd.services.leases.v1"


class Lease(Message, package=_PACKAGE):
    """A lease; the label containerd.io/gc.expire says when it ends."""

    id: str = string(1)
    created_at: Timestamp | None = message(2, Timestamp)
    labels: Mapping[str, str] = mapping(3, STRING, STRING)


class CreateRequest(Message, package=_PACKAGE):
    """Make a lease. id: empty for one that the daemon chooses."""

    id: str = string(1)
    labels: Mapping[str, str] = mapping(3, STRING, STRING)


class CreateResponse(Message, package=_PACKAGE):
    """The lease."""

    lease: Lease | None = message(1, Lease)


class DeleteRequest(Message, package=_PACKAGE):
    """End a lease. sync: answer when what only it kept is gone."""

    id: str = string(1)
    sync: bool = boolean(2)


class ListRequest(Message, package=_PACKAGE):
    """Ask for leases. filters: any of them has to match."""

    filters: Sequence[str] = repeated(1, STRING)


class ListResponse(Message, package=_PACKAGE):
    """The leases."""

    leases: Sequence[Lease] = repeated(1, Lease)


class Resource(Message, package=_PACKAGE):
    """What a lease keeps. type: content, ingests, images or snapshots/NAME."""

    id: str = string(1)
    type: str = string(2)


class AddResourceRequest(Message, package=_PACKAGE):
    """Have a lease keep something."""

    id: str = string(1)
    resource: Resource | None = message(2, Resource)


class DeleteResourceRequest(Message, package=_PACKAGE):
    """Have a lease keep something no longer."""

    id: str = string(1)
    resource: Resource | None = message(2, Resource)


class ListResourcesRequest(Message, package=_PACKAGE):
    """Ask what a lease keeps."""

    id: str = string(1)


class ListResourcesResponse(Message, package=_PACKAGE):
    """What it keeps."""

    resources: Sequence[Resource] = repeated(1, Resource)


LEASES = Service(
    f"{_PACKAGE}.Leases",
    Method("Create", CreateRequest, CreateResponse),
    Method("Delete", DeleteRequest, Empty),
    Method("List", ListRequest, ListResponse),
    Method("AddResource", AddResourceRequest, Empty),
    Method("DeleteResource", DeleteResourceRequest, Empty),
    Method("ListResources", ListResourcesRequest, ListResourcesResponse),
)
