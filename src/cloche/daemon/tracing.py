"""The daemon's traces: a span for each call, those that shims tell of, and where all of them go."""

from __future__ import annotations

import asyncio
import os
import random
import socket

from cloche.wire import tracing
from cloche.wire.messages import trace
from cloche.wire.protobuf import DecodeError
from cloche.wire.status import DATA_LOSS, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, UNIMPLEMENTED, UNKNOWN
from cloche.wire.tracing import SERVER, Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloche.daemon.otlp import Exporter
    from cloche.daemon.services import Route

_LONGEST = 64 << 10
_FAILURES = {UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS}
"""Codes that are the server's fault. That something is not found is an answer."""


class _Traced:
    """One call. span: None where it is not sampled."""

    __slots__ = ("span",)

    def __init__(self, span: Span | None) -> None:
        self.span = span

    def received(self) -> None:
        """Nothing that a span tells."""

    def sent(self) -> None:
        """As above."""

    def ended(self, code: int, message: str) -> None:
        if self.span is not None:
            self.span.end(failed=code in _FAILURES, message=message, **{"rpc.grpc.status_code": code})


class Tracer:
    """An Observer, and the recorder of its spans.

    ratio: how many of the calls whose clients do not say are traced. socket: where shims send theirs.
    """

    def __init__(self, exporter: Exporter, socket_path: str, ratio: float) -> None:
        self._exporter = exporter
        self._ratio = ratio
        self.socket = socket_path
        self._loop = asyncio.get_running_loop()
        if os.path.lexists(socket_path):
            os.unlink(socket_path)
        self._receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._receiver.bind(socket_path)
        os.chmod(socket_path, 0o600)
        self._loop.add_reader(self._receiver, self._receive)

    def began(self, route: Route, metadata: Mapping[str, Sequence[str]]) -> _Traced:
        """See Observer."""
        parent = tracing.parse(next(iter(metadata.get(tracing.TRACEPARENT, ())), ""))
        sampled = parent.sampled if parent else random.random() < self._ratio
        if not sampled:
            return _Traced(None)
        service, method = route.service.full_name, route.method.name
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        return _Traced(Span(self, f"{service}/{method}", SERVER, parent, attributes))

    def record(self, span: bytes) -> None:
        """See Recorder."""
        self._exporter.put(span)

    def _receive(self) -> None:
        """Spans of shims. What makes no sense would spoil what it is sent with."""
        try:
            data = self._receiver.recv(_LONGEST)
            trace.Span.decode(data)
        except (BlockingIOError, DecodeError):
            return
        self.record(data)

    def close(self) -> None:
        """Send what there is, and no more."""
        self._loop.remove_reader(self._receiver)
        self._receiver.close()
        os.unlink(self.socket)
        self._exporter.close()
