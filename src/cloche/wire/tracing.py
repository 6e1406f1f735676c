"""Traces: who asked for what, as spans that know their parents, across processes (W3C Trace Context).

    client ──traceparent in the call's metadata──▶ daemon ──the same──▶ shim
                                                     ▲───── finished spans, as datagrams ─────┘

`span` measures what is below it, and costs next to nothing where nobody traces.
"""

from __future__ import annotations

import os
from contextvars import ContextVar, copy_context
from time import time_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Protocol, Self, TypeVar

    _T = TypeVar("_T")

    class Recorder(Protocol):
        """Where spans go that have ended."""

        socket: str
        """Where other processes send theirs; "" for nowhere."""

        def record(self, span: bytes) -> None:
            """Take one, encoded."""


INTERNAL, SERVER, CLIENT = range(1, 4)
"""Kinds of spans."""
TRACEPARENT = "traceparent"
SOCKET = "cloche-traces"
"""Metadata of calls to shims: where a shim of ours sends its spans."""
_ERROR = 2


class Parent:
    """Somebody else's span, as it is told of. sampled: whether they trace."""

    __slots__ = ("sampled", "span_id", "trace_id")

    def __init__(self, trace_id: bytes, span_id: bytes, *, sampled: bool) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.sampled = sampled


def parse(header: str) -> Parent | None:
    """The sender of a traceparent; None where there is none, or none that makes sense."""
    parts = header.split("-")
    if [len(part) for part in parts[:4]] != [2, 32, 16, 2] or parts[0] == "ff" or header != header.lower():
        return None
    if parts[0] == "00" and len(parts) != 4:
        return None
    try:
        version, trace_id, span_id, flags = (bytes.fromhex(part) for part in parts[:4])
    except ValueError:
        return None
    if not any(trace_id) or not any(span_id) or len(version) != 1:
        return None
    return Parent(trace_id, span_id, sampled=bool(flags[0] & 1))


class Span:
    """Something that takes time. A context manager: what is begun below it has it for a parent."""

    __slots__ = (
        "_attributes",
        "_began_ns",
        "_kind",
        "_name",
        "_parent",
        "_token",
        "recorder",
        "span_id",
        "trace_id",
    )

    def __init__(
        self,
        recorder: Recorder,
        name: str,
        kind: int,
        parent: Parent | Span | None,
        attributes: Mapping[str, str | int],
    ) -> None:
        self.recorder = recorder
        self.trace_id: bytes = parent.trace_id if parent else os.urandom(16)
        self.span_id = os.urandom(8)
        self._parent = parent.span_id if parent else b""
        self._name = name
        self._kind = kind
        self._attributes = dict(attributes)
        self._began_ns = time_ns()

    @property
    def metadata(self) -> dict[str, tuple[str]]:
        """What tells another process that this is its parent."""
        found = {TRACEPARENT: (f"00-{self.trace_id.hex()}-{self.span_id.hex()}-01",)}
        if self.recorder.socket:
            found[SOCKET] = (self.recorder.socket,)
        return found

    def child(
        self, name: str, kind: int = INTERNAL, attributes: Mapping[str, str | int] | None = None
    ) -> Span:
        """A part of it, which begins now."""
        return Span(self.recorder, name, kind, self, attributes or {})

    def end(self, *, failed: bool = False, message: str = "", **attributes: str | int) -> None:
        """It is over; called once."""
        from cloche.wire.messages import trace

        self.recorder.record(
            trace.Span(
                trace_id=self.trace_id,
                span_id=self.span_id,
                parent_span_id=self._parent,
                name=self._name,
                kind=self._kind,
                start_time_unix_nano=self._began_ns,
                end_time_unix_nano=time_ns(),
                attributes=trace.attributes_of(self._attributes | attributes),
                status=trace.Status(code=_ERROR, message=message) if failed else None,
                flags=1,
            ).encode()
        )

    def __enter__(self) -> Self:
        self._token = CURRENT.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        CURRENT.reset(self._token)
        self.end(failed=error is not None, message=str(error or ""))


class _Nothing:
    """A span that nobody looks at."""

    metadata: Mapping[str, tuple[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


NOTHING = _Nothing()
CURRENT: ContextVar[Span | None] = ContextVar("span", default=None)
"""What is being done, where it is traced."""


def carried(work: Callable[[], _T]) -> Callable[[], _T]:
    """Work for another thread or process, that has what is being done here for a parent."""
    if CURRENT.get() is None:
        return work
    context = copy_context()
    return lambda: context.run(work)


def span(name: str, kind: int = INTERNAL, **attributes: str | int) -> Span | _Nothing:
    """A part of what is being done, for a with statement."""
    current = CURRENT.get()
    return current.child(name, kind, attributes) if current is not None else NOTHING
