"""containerd.services.introspection.v1: what a daemon is made of."""

from __future__ import annotations

from cloche.wire.messages.google import Any, Empty, Timestamp
from cloche.wire.messages.types import Platform
from cloche.wire.protobuf import Message, mapping, repeated, string, uint64
from cloche.wire.protobuf import message as inner
from cloche.wire.protobuf_values import STRING
from cloche.wire.service import Method, Service
from cloche.wire.ttrpc import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "containerd.services.introspection.v1"


class Plugin(Message, package=_PACKAGE):
    """One part. init_err: why it is not in use, absent where it is."""

    type: str = string(1)
    id: str = string(2)
    requires: Sequence[str] = repeated(3, STRING)
    platforms: Sequence[Platform] = repeated(4, Platform)
    exports: Mapping[str, str] = mapping(5, STRING, STRING)
    capabilities: Sequence[str] = repeated(6, STRING)
    init_err: Status | None = inner(7, Status)


class PluginsRequest(Message, package=_PACKAGE):
    """filters: any of them has to match."""

    filters: Sequence[str] = repeated(1, STRING)


class PluginsResponse(Message, package=_PACKAGE):
    """The parts that match."""

    plugins: Sequence[Plugin] = repeated(1, Plugin)


class DeprecationWarning(Message, package=_PACKAGE):  # noqa: A001 - the protocol's name
    """What somebody uses that will go away."""

    id: str = string(1)
    message: str = string(2)
    last_occurrence: Timestamp | None = inner(3, Timestamp)


class ServerResponse(Message, package=_PACKAGE):
    """uuid: stays the same over restarts. pidns: the inode of the process's pid namespace."""

    uuid: str = string(1)
    pid: int = uint64(2)
    pidns: int = uint64(3)
    deprecations: Sequence[DeprecationWarning] = repeated(4, DeprecationWarning)


class PluginInfoRequest(Message, package=_PACKAGE):
    """Which part, and what else it is asked."""

    type: str = string(1)
    id: str = string(2)
    options: Any | None = inner(3, Any)


class PluginInfoResponse(Message, package=_PACKAGE):
    """extra: what the part itself answers."""

    plugin: Plugin | None = inner(1, Plugin)
    extra: Any | None = inner(2, Any)


INTROSPECTION = Service(
    f"{_PACKAGE}.Introspection",
    Method("Plugins", PluginsRequest, PluginsResponse),
    Method("Server", Empty, ServerResponse),
    Method("PluginInfo", PluginInfoRequest, PluginInfoResponse),
)
