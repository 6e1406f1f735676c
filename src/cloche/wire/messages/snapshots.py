"""The snapshot service's messages (containerd.services.snapshots.v1). Proxy snapshotters speak them too."""

from __future__ import annotations

from cloche.wire.messages.google import Empty, FieldMask, Timestamp
from cloche.wire.messages.types import Mount
from cloche.wire.protobuf import Message, enumeration, int64, mapping, message, repeated, string
from cloche.wire.protobuf_values import STRING
from cloche.wire.service import Method, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "containerd.services.snapshots.v1"

# Kind
UNKNOWN = 0
VIEW = 1
ACTIVE = 2
COMMITTED = 3


class PrepareSnapshotRequest(Message, package=_PACKAGE):
    """Begin an active snapshot upon a committed one, or upon nothing."""

    snapshotter: str = string(1)
    key: str = string(2)
    parent: str = string(3)
    labels: Mapping[str, str] = mapping(4, STRING, STRING)


class PrepareSnapshotResponse(Message, package=_PACKAGE):
    """What to mount to write to it."""

    mounts: Sequence[Mount] = repeated(1, Mount)


class ViewSnapshotRequest(Message, package=_PACKAGE):
    """Begin a view of a committed snapshot."""

    snapshotter: str = string(1)
    key: str = string(2)
    parent: str = string(3)
    labels: Mapping[str, str] = mapping(4, STRING, STRING)


class ViewSnapshotResponse(Message, package=_PACKAGE):
    """What to mount to read it."""

    mounts: Sequence[Mount] = repeated(1, Mount)


class MountsRequest(Message, package=_PACKAGE):
    """Ask for the mounts of an active snapshot or a view."""

    snapshotter: str = string(1)
    key: str = string(2)


class MountsResponse(Message, package=_PACKAGE):
    """What to mount."""

    mounts: Sequence[Mount] = repeated(1, Mount)


class RemoveSnapshotRequest(Message, package=_PACKAGE):
    """Forget a snapshot that is nobody's parent."""

    snapshotter: str = string(1)
    key: str = string(2)


class CommitSnapshotRequest(Message, package=_PACKAGE):
    """Make the active snapshot `key` a committed one called `name`."""

    snapshotter: str = string(1)
    name: str = string(2)
    key: str = string(3)
    labels: Mapping[str, str] = mapping(4, STRING, STRING)
    parent: str = string(5)


class StatSnapshotRequest(Message, package=_PACKAGE):
    """Ask for one snapshot."""

    snapshotter: str = string(1)
    key: str = string(2)


class Info(Message, package=_PACKAGE):
    """A snapshot. name: its key where it is not committed; kind: see UNKNOWN and its neighbours."""

    name: str = string(1)
    parent: str = string(2)
    kind: int = enumeration(3)
    created_at: Timestamp | None = message(4, Timestamp)
    updated_at: Timestamp | None = message(5, Timestamp)
    labels: Mapping[str, str] = mapping(6, STRING, STRING)


class StatSnapshotResponse(Message, package=_PACKAGE):
    """The snapshot."""

    info: Info | None = message(1, Info)


class UpdateSnapshotRequest(Message, package=_PACKAGE):
    """Change labels: those that the mask names, or all."""

    snapshotter: str = string(1)
    info: Info | None = message(2, Info)
    update_mask: FieldMask | None = message(3, FieldMask)


class UpdateSnapshotResponse(Message, package=_PACKAGE):
    """The snapshot as it is now."""

    info: Info | None = message(1, Info)


class ListSnapshotsRequest(Message, package=_PACKAGE):
    """Ask for snapshots. filters: any of them has to match."""

    snapshotter: str = string(1)
    filters: Sequence[str] = repeated(2, STRING)


class ListSnapshotsResponse(Message, package=_PACKAGE):
    """Some of the snapshots; more messages may follow."""

    info: Sequence[Info] = repeated(1, Info)


class UsageRequest(Message, package=_PACKAGE):
    """Ask what a snapshot takes on disk."""

    snapshotter: str = string(1)
    key: str = string(2)


class UsageResponse(Message, package=_PACKAGE):
    """Bytes and inodes of the snapshot without its parents."""

    size: int = int64(1)
    inodes: int = int64(2)


class CleanupRequest(Message, package=_PACKAGE):
    """Delete what removals left on disk."""

    snapshotter: str = string(1)


SNAPSHOTS = Service(
    f"{_PACKAGE}.Snapshots",
    Method("Prepare", PrepareSnapshotRequest, PrepareSnapshotResponse),
    Method("View", ViewSnapshotRequest, ViewSnapshotResponse),
    Method("Mounts", MountsRequest, MountsResponse),
    Method("Commit", CommitSnapshotRequest, Empty),
    Method("Remove", RemoveSnapshotRequest, Empty),
    Method("Stat", StatSnapshotRequest, StatSnapshotResponse),
    Method("Update", UpdateSnapshotRequest, UpdateSnapshotResponse),
    Method("List", ListSnapshotsRequest, ListSnapshotsResponse, server_streaming=True),
    Method("Usage", UsageRequest, UsageResponse),
    Method("Cleanup", CleanupRequest, Empty),
)
