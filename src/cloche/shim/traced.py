"""What a shim tells of the calls of somebody who traces: spans, as datagrams to the daemon's socket."""

from __future__ import annotations

from _socket import AF_UNIX, SOCK_DGRAM, SOCK_NONBLOCK
from _socket import socket as _socket

from cloche.wire import tracing
from cloche.wire.tracing import SERVER, Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cloche.shim.server import Call, Handler


class _Daemon:
    """Takes our spans, if it still runs."""

    def __init__(self, path: str) -> None:
        self.socket = path

    def record(self, span: bytes) -> None:
        """See Recorder."""
        sender = _socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK)
        try:
            sender.sendto(span, self.socket)
        except OSError:
            pass  # a trace is worth no trouble
        finally:
            sender.close()


def begin(metadata: Mapping[str, str], service: str, method: str) -> Span | None:
    """The span of a call that has come, where its client traces and says where to."""
    parent, path = tracing.parse(metadata.get(tracing.TRACEPARENT, "")), metadata.get(tracing.SOCKET, "")
    if parent is None or not parent.sampled or not path:
        return None
    attributes = {"rpc.system": "ttrpc", "rpc.service": service, "rpc.method": method}
    return Span(_Daemon(path), f"{service}/{method}", SERVER, parent, attributes)


def within(span: Span | None, handler: Handler) -> Handler:
    """A handler whose work has the span for a parent. The span itself ends with the call."""
    if span is None:
        return handler

    def handle(request: Any, call: Call) -> None:
        token = tracing.CURRENT.set(span)
        try:
            handler(request, call)
        finally:
            tracing.CURRENT.reset(token)

    return handle
