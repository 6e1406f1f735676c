"""What happens to what is stored: namespaces, containers, images, content, snapshots, sandboxes."""

from __future__ import annotations

from cloche.wire.messages.google import Any, Timestamp
from cloche.wire.protobuf import Message, int64, mapping, message, string, uint32
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGE = "containerd.events"


class NamespaceCreate(Message, package=_PACKAGE):
    """A namespace was made."""

    name: str = string(1)
    labels: Mapping[str, str] = mapping(2, STRING, STRING)


class NamespaceUpdate(Message, package=_PACKAGE):
    """A namespace has other labels."""

    name: str = string(1)
    labels: Mapping[str, str] = mapping(2, STRING, STRING)


class NamespaceDelete(Message, package=_PACKAGE):
    """A namespace was removed."""

    name: str = string(1)


class ContainerCreateRuntime(Message, package=_PACKAGE, name="ContainerCreate.Runtime"):
    """What will run a container."""

    name: str = string(1)
    options: Any | None = message(2, Any)


class ContainerCreate(Message, package=_PACKAGE):
    """A container was made."""

    id: str = string(1)
    image: str = string(2)
    runtime: ContainerCreateRuntime | None = message(3, ContainerCreateRuntime)


class ContainerUpdate(Message, package=_PACKAGE):
    """A container was changed."""

    id: str = string(1)
    image: str = string(2)
    labels: Mapping[str, str] = mapping(3, STRING, STRING)
    snapshot_key: str = string(4)


class ContainerDelete(Message, package=_PACKAGE):
    """A container was removed."""

    id: str = string(1)


class ImageCreate(Message, package=_PACKAGE):
    """An image has a new name."""

    name: str = string(1)
    labels: Mapping[str, str] = mapping(2, STRING, STRING)


class ImageUpdate(Message, package=_PACKAGE):
    """An image's name stands for something else, or has other labels."""

    name: str = string(1)
    labels: Mapping[str, str] = mapping(2, STRING, STRING)


class ImageDelete(Message, package=_PACKAGE):
    """An image's name is gone."""

    name: str = string(1)


class ContentCreate(Message, package=_PACKAGE):
    """A blob is here."""

    digest: str = string(1)
    size: int = int64(2)
    mediaType: str = string(3)  # noqa: N815 - its name in the protocol, unlike all others


class ContentDelete(Message, package=_PACKAGE):
    """A blob is gone."""

    digest: str = string(1)


class SnapshotPrepare(Message, package=_PACKAGE):
    """A snapshot was begun."""

    key: str = string(1)
    parent: str = string(2)
    snapshotter: str = string(5)


class SnapshotCommit(Message, package=_PACKAGE):
    """A snapshot was committed."""

    key: str = string(1)
    name: str = string(2)
    snapshotter: str = string(5)


class SnapshotRemove(Message, package=_PACKAGE):
    """A snapshot was removed."""

    key: str = string(1)
    snapshotter: str = string(5)


class SandboxCreate(Message, package=_PACKAGE):
    """A sandbox was made."""

    sandbox_id: str = string(1)


class SandboxStart(Message, package=_PACKAGE):
    """A sandbox was started."""

    sandbox_id: str = string(1)


class SandboxExit(Message, package=_PACKAGE):
    """A sandbox has ended."""

    sandbox_id: str = string(1)
    exit_status: int = uint32(2)
    exited_at: Timestamp | None = message(3, Timestamp)
