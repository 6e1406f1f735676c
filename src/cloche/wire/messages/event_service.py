"""The event service's messages (containerd.services.events.v1). What an event says: `events`."""

from __future__ import annotations

from cloche.wire.messages.google import Any, Empty
from cloche.wire.messages.types import Envelope
from cloche.wire.protobuf import Message, message, repeated, string
from cloche.wire.protobuf_values import STRING
from cloche.wire.service import Method, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGE = "containerd.services.events.v1"


class PublishRequest(Message, package=_PACKAGE):
    """A client's event."""

    topic: str = string(1)
    event: Any | None = message(2, Any)


class ForwardRequest(Message, package=_PACKAGE):
    """An event that happened elsewhere, such as in a shim."""

    envelope: Envelope | None = message(1, Envelope)


class SubscribeRequest(Message, package=_PACKAGE):
    """Follow events. filters: any of them has to match."""

    filters: Sequence[str] = repeated(1, STRING)


EVENTS = Service(
    f"{_PACKAGE}.Events",
    Method("Publish", PublishRequest, Empty),
    Method("Forward", ForwardRequest, Empty),
    Method("Subscribe", SubscribeRequest, Envelope, server_streaming=True, lasting=True),
)
