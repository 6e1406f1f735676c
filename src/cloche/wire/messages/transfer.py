"""What can be transferred, and from where to where (containerd.types.transfer)."""

from __future__ import annotations

from cloche.wire.messages.google import Timestamp
from cloche.wire.messages.types import Descriptor, Platform
from cloche.wire.protobuf import (
    Message,
    binary,
    boolean,
    enumeration,
    int32,
    int64,
    mapping,
    message,
    repeated,
    string,
    uint32,
)
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "containerd.types.transfer"

# HTTPDebug
DISABLED = 0
DEBUG = 1
TRACE = 2
BOTH = 3


# AuthType
NONE = 0
CREDENTIALS = 1
REFRESH = 2
HEADER = 3


class RegistryResolver(Message, package=_PACKAGE):
    """How to find a registry, and what to show it. auth_stream: where to ask for credentials."""

    auth_stream: str = string(1)
    headers: Mapping[str, str] = mapping(2, STRING, STRING)
    host_dir: str = string(3)
    default_scheme: str = string(4)
    http_debug: int = enumeration(5)
    logs_stream: str = string(6)


class OCIRegistry(Message, package=_PACKAGE):
    """An image in a registry."""

    reference: str = string(1)
    resolver: RegistryResolver | None = message(2, RegistryResolver)


class AuthRequest(Message, package=_PACKAGE):
    """Ask the client what to show a registry."""

    host: str = string(1)
    reference: str = string(2)
    wwwauthenticate: Sequence[str] = repeated(3, STRING)


class AuthResponse(Message, package=_PACKAGE):
    """What to show: see NONE and its neighbours."""

    authType: int = enumeration(1)  # noqa: N815 - its name in the protocol
    secret: str = string(2)
    username: str = string(3)
    expire_at: Timestamp | None = message(4, Timestamp)


class ImageReference(Message, package=_PACKAGE):
    """A name that an image gets, or the beginning of one."""

    name: str = string(1)
    is_prefix: bool = boolean(2)
    allow_overwrite: bool = boolean(3)
    add_digest: bool = boolean(4)
    skip_named_digest: bool = boolean(5)


class UnpackConfiguration(Message, package=_PACKAGE):
    """Where to unpack an image for which platform."""

    platform: Platform | None = message(1, Platform)
    snapshotter: str = string(2)


class ImageStore(Message, package=_PACKAGE):
    """Images here."""

    name: str = string(1)
    labels: Mapping[str, str] = mapping(2, STRING, STRING)
    platforms: Sequence[Platform] = repeated(3, Platform)
    all_metadata: bool = boolean(4)
    manifest_limit: int = uint32(5)
    extra_references: Sequence[ImageReference] = repeated(6, ImageReference)
    unpacks: Sequence[UnpackConfiguration] = repeated(10, UnpackConfiguration)


class ImageImportStream(Message, package=_PACKAGE):
    """An archive that the client sends."""

    stream: str = string(1)
    media_type: str = string(2)
    force_compress: bool = boolean(3)


class ImageExportStream(Message, package=_PACKAGE):
    """An archive that the client receives."""

    stream: str = string(1)
    media_type: str = string(2)
    platforms: Sequence[Platform] = repeated(3, Platform)
    all_platforms: bool = boolean(4)
    skip_compatibility_manifest: bool = boolean(5)
    skip_non_distributable: bool = boolean(6)


class Progress(Message, package=_PACKAGE):
    """News of a transfer. parents: names of what it is part of; desc: the content, where it is about one."""

    event: str = string(1)
    name: str = string(2)
    parents: Sequence[str] = repeated(3, STRING)
    progress: int = int64(4)
    total: int = int64(5)
    desc: Descriptor | None = message(6, Descriptor)


class Data(Message, package=_PACKAGE):
    """Bytes of a stream."""

    data: bytes = binary(1)


class WindowUpdate(Message, package=_PACKAGE):
    """How many bytes more the receiver takes."""

    update: int = int32(1)


class ReadStream(Message, package=_PACKAGE):
    """A stream to read from."""

    stream: str = string(1)
    media_type: str = string(2)


class WriteStream(Message, package=_PACKAGE):
    """A stream to write to."""

    stream: str = string(1)
    media_type: str = string(2)
