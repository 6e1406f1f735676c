"""The content service's messages: blobs and ingests (containerd.services.content.v1)."""

from __future__ import annotations

from cloche.wire.messages.google import Empty, FieldMask, Timestamp
from cloche.wire.protobuf import Message, binary, enumeration, int64, mapping, message, repeated, string
from cloche.wire.protobuf_values import STRING
from cloche.wire.service import Method, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "containerd.services.content.v1"

# WriteAction
STAT = 0
WRITE = 1
COMMIT = 2


class Info(Message, package=_PACKAGE):
    """A blob as a namespace knows it."""

    digest: str = string(1)
    size: int = int64(2)
    created_at: Timestamp | None = message(3, Timestamp)
    updated_at: Timestamp | None = message(4, Timestamp)
    labels: Mapping[str, str] = mapping(5, STRING, STRING)


class InfoRequest(Message, package=_PACKAGE):
    """Ask for one blob."""

    digest: str = string(1)


class InfoResponse(Message, package=_PACKAGE):
    """The blob."""

    info: Info | None = message(1, Info)


class UpdateRequest(Message, package=_PACKAGE):
    """Change labels: those that the mask names, or all."""

    info: Info | None = message(1, Info)
    update_mask: FieldMask | None = message(2, FieldMask)


class UpdateResponse(Message, package=_PACKAGE):
    """The blob as it is now."""

    info: Info | None = message(1, Info)


class ListContentRequest(Message, package=_PACKAGE):
    """Ask for blobs. filters: any of them has to match."""

    filters: Sequence[str] = repeated(1, STRING)


class ListContentResponse(Message, package=_PACKAGE):
    """Some of the blobs; more messages may follow."""

    info: Sequence[Info] = repeated(1, Info)


class DeleteContentRequest(Message, package=_PACKAGE):
    """Remove a blob."""

    digest: str = string(1)


class ReadContentRequest(Message, package=_PACKAGE):
    """Read a blob from an offset on. size: 0 for all."""

    digest: str = string(1)
    offset: int = int64(2)
    size: int = int64(3)


class ReadContentResponse(Message, package=_PACKAGE):
    """Bytes of a blob."""

    offset: int = int64(1)
    data: bytes = binary(2)


class Status(Message, package=_PACKAGE):
    """An ingest: how much of a blob is here."""

    started_at: Timestamp | None = message(1, Timestamp)
    updated_at: Timestamp | None = message(2, Timestamp)
    ref: str = string(3)
    offset: int = int64(4)
    total: int = int64(5)
    expected: str = string(6)


class StatusRequest(Message, package=_PACKAGE):
    """Ask for one ingest."""

    ref: str = string(1)


class StatusResponse(Message, package=_PACKAGE):
    """The ingest."""

    status: Status | None = message(1, Status)


class ListStatusesRequest(Message, package=_PACKAGE):
    """Ask for ingests. filters: any of them has to match."""

    filters: Sequence[str] = repeated(1, STRING)


class ListStatusesResponse(Message, package=_PACKAGE):
    """The ingests."""

    statuses: Sequence[Status] = repeated(1, Status)


class WriteContentRequest(Message, package=_PACKAGE):
    """A step of an ingest. action: see STAT, WRITE and COMMIT."""

    action: int = enumeration(1)
    ref: str = string(2)
    total: int = int64(3)
    expected: str = string(4)
    offset: int = int64(5)
    data: bytes = binary(6)
    labels: Mapping[str, str] = mapping(7, STRING, STRING)


class WriteContentResponse(Message, package=_PACKAGE):
    """How far the ingest is."""

    action: int = enumeration(1)
    started_at: Timestamp | None = message(2, Timestamp)
    updated_at: Timestamp | None = message(3, Timestamp)
    offset: int = int64(4)
    total: int = int64(5)
    digest: str = string(6)


class AbortRequest(Message, package=_PACKAGE):
    """Forget an ingest."""

    ref: str = string(1)


CONTENT = Service(
    f"{_PACKAGE}.Content",
    Method("Info", InfoRequest, InfoResponse),
    Method("Update", UpdateRequest, UpdateResponse),
    Method("List", ListContentRequest, ListContentResponse, server_streaming=True),
    Method("Delete", DeleteContentRequest, Empty),
    Method("Read", ReadContentRequest, ReadContentResponse, server_streaming=True),
    Method("Status", StatusRequest, StatusResponse),
    Method("ListStatuses", ListStatusesRequest, ListStatusesResponse),
    Method("Write", WriteContentRequest, WriteContentResponse, client_streaming=True, server_streaming=True),
    Method("Abort", AbortRequest, Empty),
)
