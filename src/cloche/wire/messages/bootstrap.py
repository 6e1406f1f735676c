"""What containerd tells a shim's command and hears from it: `containerd.runtime.bootstrap.v1`."""

from __future__ import annotations

from cloche.wire.messages.google import Any
from cloche.wire.protobuf import Message, enumeration, int32, mapping, message, repeated, string
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "containerd.runtime.bootstrap.v1"

LOG_LEVEL_DEBUG = -4
"""From this level down everything is to be logged; 0 is INFO, what is graver is above."""


class Extension(Message, package=_PACKAGE):
    """A section of configuration, known by its type."""

    value: Any | None = message(1, Any)


class BootstrapParams(Message, package=_PACKAGE):
    """All that containerd 2.3 and newer says to `start`, on its standard input."""

    instance_id: str = string(1)
    namespace: str = string(2)
    log_level: int = enumeration(3)
    containerd_version: str = string(4)
    containerd_ttrpc_address: str = string(5)
    containerd_grpc_address: str = string(6)
    containerd_binary: str = string(7)
    extensions: Sequence[Extension] = repeated(8, Extension)
    socket_dir: str | None = string(9, optional=True)


class BootstrapResult(Message, package=_PACKAGE):
    """The answer of `start`, on its standard output. protocol: "ttrpc" or "grpc"."""

    version: int = int32(1)
    address: str = string(2)
    protocol: str = string(3)
    metadata: Mapping[str, str] = mapping(5, STRING, STRING)


class RuntimeVersion(Message, package="containerd.types"):
    """Of a shim."""

    version: str = string(1)
    revision: str = string(2)


class RuntimeRequest(Message, package="containerd.types"):
    """Which runtime a daemon is asked about: its name or path, and the options it would be given."""

    runtime_path: str = string(1)
    options: Any | None = message(2, Any)


class RuntimeInfo(Message, package="containerd.types"):
    """What `-info` prints. options: as they were given; features: the runtime's document as JSON."""

    name: str = string(1)
    version: RuntimeVersion | None = message(2, RuntimeVersion)
    options: Any | None = message(3, Any)
    features: Any | None = message(4, Any)
    annotations: Mapping[str, str] = mapping(5, STRING, STRING)
