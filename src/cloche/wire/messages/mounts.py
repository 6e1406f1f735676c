"""The mount service's messages: mounts that the daemon holds (containerd.services.mounts.v1)."""

from __future__ import annotations

from cloche.wire.messages.google import Empty, FieldMask
from cloche.wire.messages.types import ActivationInfo, Mount
from cloche.wire.protobuf import Message, boolean, mapping, message, repeated, string
from cloche.wire.protobuf_values import STRING
from cloche.wire.service import Method, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "containerd.services.mounts.v1"


class ActivateRequest(Message, package=_PACKAGE):
    """Mount what the caller could not, under a name."""

    name: str = string(1)
    mounts: Sequence[Mount] = repeated(2, Mount)
    labels: Mapping[str, str] = mapping(3, STRING, STRING)
    temporary: bool = boolean(4)


class ActivateResponse(Message, package=_PACKAGE):
    """What is mounted, and what is left to the caller."""

    info: ActivationInfo | None = message(1, ActivationInfo)


class DeactivateRequest(Message, package=_PACKAGE):
    """Unmount what was activated under a name."""

    name: str = string(1)


class InfoRequest(Message, package=_PACKAGE):
    """Ask what is active under a name."""

    name: str = string(1)


class InfoResponse(Message, package=_PACKAGE):
    """What is active."""

    info: ActivationInfo | None = message(1, ActivationInfo)


class UpdateRequest(Message, package=_PACKAGE):
    """Change labels of an activation."""

    info: ActivationInfo | None = message(1, ActivationInfo)
    update_mask: FieldMask | None = message(2, FieldMask)


class UpdateResponse(Message, package=_PACKAGE):
    """The activation as it is now."""

    info: ActivationInfo | None = message(1, ActivationInfo)


class ListRequest(Message, package=_PACKAGE):
    """Ask for activations. filters: any of them has to match."""

    filters: Sequence[str] = repeated(1, STRING)


class ListMessage(Message, package=_PACKAGE):
    """One activation."""

    info: ActivationInfo | None = message(1, ActivationInfo)


MOUNTS = Service(
    f"{_PACKAGE}.Mounts",
    Method("Activate", ActivateRequest, ActivateResponse),
    Method("Deactivate", DeactivateRequest, Empty),
    Method("Info", InfoRequest, InfoResponse),
    Method("Update", UpdateRequest, UpdateResponse),
    Method("List", ListRequest, ListMessage, server_streaming=True),
)
