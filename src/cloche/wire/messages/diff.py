"""The diff service's messages: layers to files and back (containerd.services.diff.v1)."""

from __future__ import annotations

from cloche.wire.messages.google import Any, Timestamp
from cloche.wire.messages.types import Descriptor, Mount
from cloche.wire.protobuf import Message, boolean, mapping, message, repeated, string
from cloche.wire.protobuf_values import STRING
from cloche.wire.service import Method, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "containerd.services.diff.v1"


class ApplyRequest(Message, package=_PACKAGE):
    """Extract the layer `diff` into mounts. sync_fs: answer when it is on disk."""

    diff: Descriptor | None = message(1, Descriptor)
    mounts: Sequence[Mount] = repeated(2, Mount)
    payloads: Mapping[str, Any] = mapping(3, STRING, Any)
    sync_fs: bool = boolean(4)


class ApplyResponse(Message, package=_PACKAGE):
    """The layer as it was applied: uncompressed."""

    applied: Descriptor | None = message(1, Descriptor)


class DiffRequest(Message, package=_PACKAGE):
    """Make a layer of what the right mounts have and the left ones have not. ref: the ingest's name."""

    left: Sequence[Mount] = repeated(1, Mount)
    right: Sequence[Mount] = repeated(2, Mount)
    media_type: str = string(3)
    ref: str = string(4)
    labels: Mapping[str, str] = mapping(5, STRING, STRING)
    source_date_epoch: Timestamp | None = message(6, Timestamp)


class DiffResponse(Message, package=_PACKAGE):
    """The layer, in the content store."""

    diff: Descriptor | None = message(3, Descriptor)


DIFF = Service(
    f"{_PACKAGE}.Diff",
    Method("Apply", ApplyRequest, ApplyResponse),
    Method("Diff", DiffRequest, DiffResponse),
)
