"""What our own shim is asked about streams (cloche.shim.v1)."""

from __future__ import annotations

from cloche.wire.protobuf import Message, boolean, string

_PACKAGE = "cloche.shim.v1"


class ReopenLogsRequest(Message, package=_PACKAGE):
    """A container's log was renamed: go on in a new one."""

    id: str = string(1)


class ServeAttachRequest(Message, package=_PACKAGE):
    """Let people attach to a container. input_ends: whether the end of one's input is the container's."""

    id: str = string(1)
    input_ends: bool = boolean(2)
