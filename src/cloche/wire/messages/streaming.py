"""The streaming service's messages: channels that a transfer refers to (containerd.services.streaming.v1)."""

from __future__ import annotations

from cloche.wire.messages.google import Any
from cloche.wire.protobuf import Message, string
from cloche.wire.service import Method, Service

_PACKAGE = "containerd.services.streaming.v1"


class StreamInit(Message, package=_PACKAGE):
    """The first message of a stream: its name."""

    id: str = string(1)


STREAMING = Service(
    f"{_PACKAGE}.Streaming",
    Method("Stream", Any, Any, client_streaming=True, server_streaming=True),
)
