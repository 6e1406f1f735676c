"""Values and enumerations that many messages of CRI share (runtime.v1)."""

from __future__ import annotations

from cloche.wire.protobuf import (
    Message,
    binary,
    enumeration,
    int32,
    int64,
    message,
    repeated,
    string,
    uint32,
    uint64,
)
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGE = "runtime.v1"

TCP, UDP, SCTP = 0, 1, 2
"""PortMapping.protocol."""
POD, CONTAINER, NODE, TARGET = 0, 1, 2, 3
"""How far a namespace is shared: by the pod, not at all, with the host, with another container."""
RUNTIME_DEFAULT, UNCONFINED, LOCALHOST = 0, 1, 2
"""SecurityProfile.profile_type."""
MERGE, STRICT = 0, 1
"""Further groups: with those that the image gives the user, or without."""


class DNSConfig(Message, package=_PACKAGE):
    """What the pod's resolv.conf says."""

    servers: Sequence[str] = repeated(1, STRING)
    searches: Sequence[str] = repeated(2, STRING)
    options: Sequence[str] = repeated(3, STRING)


class PortMapping(Message, package=_PACKAGE):
    """A port of the pod that is reached by one of the host."""

    protocol: int = enumeration(1)
    container_port: int = int32(2)
    host_port: int = int32(3)
    host_ip: str = string(4)


class IDMapping(Message, package=_PACKAGE):
    """So many ids of the container, from one on, are those of the host from another on."""

    host_id: int = uint32(1)
    container_id: int = uint32(2)
    length: int = uint32(3)


class UserNamespace(Message, package=_PACKAGE):
    """Whether the pod has ids of its own, and which."""

    mode: int = enumeration(1)
    uids: Sequence[IDMapping] = repeated(2, IDMapping)
    gids: Sequence[IDMapping] = repeated(3, IDMapping)


class NamespaceOption(Message, package=_PACKAGE):
    """Which namespaces are shared, and with whom. target_id: the container, for TARGET."""

    network: int = enumeration(1)
    pid: int = enumeration(2)
    ipc: int = enumeration(3)
    target_id: str = string(4)
    userns_options: UserNamespace | None = message(5, UserNamespace)


class Int64Value(Message, package=_PACKAGE):
    """A number that may be absent."""

    value: int = int64(1)


class SecurityProfile(Message, package=_PACKAGE):
    """A filter or profile. localhost_ref: which one of the machine's."""

    profile_type: int = enumeration(1)
    localhost_ref: str = string(2)


class KeyValue(Message, package=_PACKAGE):
    """An environment variable."""

    key: str = string(1)
    value: bytes = binary(2)


class SELinuxOption(Message, package=_PACKAGE):
    """A label of SELinux."""

    user: str = string(1)
    role: str = string(2)
    type: str = string(3)
    level: str = string(4)


class Capability(Message, package=_PACKAGE):
    """Capabilities to add and to drop, without CAP_, or ALL."""

    add_capabilities: Sequence[str] = repeated(1, STRING)
    drop_capabilities: Sequence[str] = repeated(2, STRING)
    add_ambient_capabilities: Sequence[str] = repeated(3, STRING)


class UInt64Value(Message, package=_PACKAGE):
    """A number that may be absent."""

    value: int = uint64(1)


class FilesystemIdentifier(Message, package=_PACKAGE):
    """A file system by where it is mounted."""

    mountpoint: str = string(1)


class FilesystemUsage(Message, package=_PACKAGE):
    """What is used of a file system."""

    timestamp: int = int64(1)
    fs_id: FilesystemIdentifier | None = message(2, FilesystemIdentifier)
    used_bytes: UInt64Value | None = message(3, UInt64Value)
    inodes_used: UInt64Value | None = message(4, UInt64Value)
