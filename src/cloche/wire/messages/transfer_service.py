"""The transfer service's messages (containerd.services.transfer.v1)."""

from __future__ import annotations

from cloche.wire.messages.google import Any, Empty
from cloche.wire.protobuf import Message, message, string
from cloche.wire.service import Method, Service

_PACKAGE = "containerd.services.transfer.v1"


class TransferOptions(Message, package=_PACKAGE):
    """progress_stream: where to tell news, empty for nowhere."""

    progress_stream: str = string(1)


class TransferRequest(Message, package=_PACKAGE):
    """Move something from a source to a destination: messages of `transfer`."""

    source: Any | None = message(1, Any)
    destination: Any | None = message(2, Any)
    options: TransferOptions | None = message(3, TransferOptions)


TRANSFER = Service(
    f"{_PACKAGE}.Transfer",
    Method("Transfer", TransferRequest, Empty),
)
