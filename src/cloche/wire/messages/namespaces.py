"""The namespace service's messages (containerd.services.namespaces.v1)."""

from __future__ import annotations

from cloche.wire.messages.google import Empty, FieldMask
from cloche.wire.protobuf import Message, mapping, message, repeated, string
from cloche.wire.protobuf_values import STRING
from cloche.wire.service import Method, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "containerd.services.namespaces.v1"


class Namespace(Message, package=_PACKAGE):
    """A namespace."""

    name: str = string(1)
    labels: Mapping[str, str] = mapping(2, STRING, STRING)


class GetNamespaceRequest(Message, package=_PACKAGE):
    """Ask for one namespace."""

    name: str = string(1)


class GetNamespaceResponse(Message, package=_PACKAGE):
    """The namespace."""

    namespace: Namespace | None = message(1, Namespace)


class ListNamespacesRequest(Message, package=_PACKAGE):
    """Ask for namespaces. filter: not used by anyone."""

    filter: str = string(1)


class ListNamespacesResponse(Message, package=_PACKAGE):
    """The namespaces."""

    namespaces: Sequence[Namespace] = repeated(1, Namespace)


class CreateNamespaceRequest(Message, package=_PACKAGE):
    """Make a namespace."""

    namespace: Namespace | None = message(1, Namespace)


class CreateNamespaceResponse(Message, package=_PACKAGE):
    """The namespace as it was made."""

    namespace: Namespace | None = message(1, Namespace)


class UpdateNamespaceRequest(Message, package=_PACKAGE):
    """Change labels: those that the mask names, or all."""

    namespace: Namespace | None = message(1, Namespace)
    update_mask: FieldMask | None = message(2, FieldMask)


class UpdateNamespaceResponse(Message, package=_PACKAGE):
    """The namespace as it is now."""

    namespace: Namespace | None = message(1, Namespace)


class DeleteNamespaceRequest(Message, package=_PACKAGE):
    """Remove an empty namespace."""

    name: str = string(1)


NAMESPACES = Service(
    f"{_PACKAGE}.Namespaces",
    Method("Get", GetNamespaceRequest, GetNamespaceResponse),
    Method("List", ListNamespacesRequest, ListNamespacesResponse),
    Method("Create", CreateNamespaceRequest, CreateNamespaceResponse),
    Method("Update", UpdateNamespaceRequest, UpdateNamespaceResponse),
    Method("Delete", DeleteNamespaceRequest, Empty),
)
