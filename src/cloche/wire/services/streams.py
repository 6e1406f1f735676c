"""`cloche.shim.v1.Streams`: what our own shim offers beside containerd's services."""

from __future__ import annotations

from cloche.wire.messages.google import Empty
from cloche.wire.messages.shim_streams import ReopenLogsRequest, ServeAttachRequest
from cloche.wire.service import Method, Service

STREAMS = Service(
    "cloche.shim.v1.Streams",
    Method("ReopenLogs", ReopenLogsRequest, Empty),
    # The socket is attach.sock in the bundle; what is said over it: cloche.shim.frames.
    Method("ServeAttach", ServeAttachRequest, Empty),
)
