"""Spans as OpenTelemetry's protocol (OTLP) has them: `opentelemetry.proto.*.v1`."""

from __future__ import annotations

from cloche.wire.protobuf import (
    Message,
    binary,
    enumeration,
    fixed32,
    fixed64,
    int64,
    message,
    repeated,
    string,
)
from cloche.wire.protobuf_values import BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_TRACE = "opentelemetry.proto.trace.v1"
_COMMON = "opentelemetry.proto.common.v1"


class AnyValue(Message, package=_COMMON):
    """A value: text where it has any, else the number."""

    string_value: str = string(1, optional=True)
    int_value: int = int64(3, optional=True)


class KeyValue(Message, package=_COMMON):
    """An attribute."""

    key: str = string(1)
    value: AnyValue | None = message(2, AnyValue)


class Status(Message, package=_TRACE):
    """How it ended."""

    message: str = string(2)
    code: int = enumeration(3)


class Span(Message, package=_TRACE):
    """Something that took time. Times in nanoseconds since the epoch; parent_span_id: none for the first."""

    trace_id: bytes = binary(1)
    span_id: bytes = binary(2)
    parent_span_id: bytes = binary(4)
    name: str = string(5)
    kind: int = enumeration(6)
    start_time_unix_nano: int = fixed64(7)
    end_time_unix_nano: int = fixed64(8)
    attributes: Sequence[KeyValue] = repeated(9, KeyValue)
    status: Status | None = message(15, Status)
    flags: int = fixed32(16)


class InstrumentationScope(Message, package=_COMMON):
    """What measured."""

    name: str = string(1)
    version: str = string(2)


class ScopeSpans(Message, package=_TRACE):
    """Spans of one scope, each encoded already."""

    scope: InstrumentationScope | None = message(1, InstrumentationScope)
    spans: Sequence[bytes] = repeated(2, BYTES)


class Resource(Message, package="opentelemetry.proto.resource.v1"):
    """Who measured."""

    attributes: Sequence[KeyValue] = repeated(1, KeyValue)


class ResourceSpans(Message, package=_TRACE):
    """Spans of one process."""

    resource: Resource | None = message(1, Resource)
    scope_spans: Sequence[ScopeSpans] = repeated(2, ScopeSpans)


class ExportTraceServiceRequest(Message, package="opentelemetry.proto.collector.trace.v1"):
    """What is sent to a collector."""

    resource_spans: Sequence[ResourceSpans] = repeated(1, ResourceSpans)


def attributes_of(values: dict[str, str | int]) -> list[KeyValue]:
    """Attributes as messages."""
    return [
        KeyValue(
            key=key,
            value=AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value),
        )
        for key, value in values.items()
    ]
