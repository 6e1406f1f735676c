"""Programs run in a container, and streams that somebody is connected to."""

from __future__ import annotations

from cloche.wire.protobuf import Message, binary, boolean, int32, int64, repeated, string
from cloche.wire.protobuf_values import INT32, STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGE = "runtime.v1"


class ExecSyncRequest(Message, package=_PACKAGE):
    """Run a program, and wait for its end. timeout: in seconds, 0 for none."""

    container_id: str = string(1)
    cmd: Sequence[str] = repeated(2, STRING)
    timeout: int = int64(3)


class ExecSyncResponse(Message, package=_PACKAGE):
    """What it said, and its exit code."""

    stdout: bytes = binary(1)
    stderr: bytes = binary(2)
    exit_code: int = int32(3)


class ExecRequest(Message, package=_PACKAGE):
    """Prepare to run a program with somebody connected."""

    container_id: str = string(1)
    cmd: Sequence[str] = repeated(2, STRING)
    tty: bool = boolean(3)
    stdin: bool = boolean(4)
    stdout: bool = boolean(5)
    stderr: bool = boolean(6)


class ExecResponse(Message, package=_PACKAGE):
    """Where to connect, once."""

    url: str = string(1)


class AttachRequest(Message, package=_PACKAGE):
    """Prepare to be connected with what runs."""

    container_id: str = string(1)
    stdin: bool = boolean(2)
    tty: bool = boolean(3)
    stdout: bool = boolean(4)
    stderr: bool = boolean(5)


class AttachResponse(Message, package=_PACKAGE):
    """Where to connect, once."""

    url: str = string(1)


class PortForwardRequest(Message, package=_PACKAGE):
    """Prepare to be connected with ports of a pod."""

    pod_sandbox_id: str = string(1)
    port: Sequence[int] = repeated(2, INT32)


class PortForwardResponse(Message, package=_PACKAGE):
    """Where to connect, once."""

    url: str = string(1)
