"""The messages that Protocol Buffers bring along: Any, Timestamp, Duration and their kin."""

from __future__ import annotations

from cloche.wire.protobuf import (
    Message,
    binary,
    boolean,
    double,
    int32,
    int64,
    repeated,
    string,
    uint32,
    uint64,
)
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

_PACKAGE = "google.protobuf"
_NS = 1_000_000_000


class Any(Message, package=_PACKAGE):
    """A message of any type. type_url: its full name, with or without a host before a slash."""

    type_url: str = string(1)
    value: bytes = binary(2)

    @classmethod
    def pack(cls, message: Message) -> Self:
        """containerd writes the bare name as the URL, and so do we."""
        return cls(type_url=message.FULL_NAME, value=message.encode())

    @property
    def type_name(self) -> str:
        """The full name, without a host."""
        return self.type_url.rpartition("/")[2]


class Empty(Message, package=_PACKAGE):
    """Nothing."""


class Timestamp(Message, package=_PACKAGE):
    """A moment: seconds since 1970 and nanoseconds, from 0 up, after them."""

    seconds: int = int64(1)
    nanos: int = int32(2)

    @classmethod
    def of(cls, time_ns: int) -> Self:
        """A moment in nanoseconds since 1970."""
        seconds, nanos = divmod(time_ns, _NS)
        return cls(seconds=seconds, nanos=nanos)

    def ns(self) -> int:
        """Nanoseconds since 1970."""
        return self.seconds * _NS + self.nanos


class Duration(Message, package=_PACKAGE):
    """A span of time; seconds and nanoseconds have the same sign."""

    seconds: int = int64(1)
    nanos: int = int32(2)

    def ns(self) -> int:
        """Nanoseconds."""
        return self.seconds * _NS + self.nanos


class FieldMask(Message, package=_PACKAGE):
    """Names of fields, with dots between levels."""

    paths: Sequence[str] = repeated(1, STRING)


class DoubleValue(Message, package=_PACKAGE):
    """A number that may be absent."""

    value: float = double(1)


class Int64Value(Message, package=_PACKAGE):
    """A number that may be absent."""

    value: int = int64(1)


class UInt64Value(Message, package=_PACKAGE):
    """A number that may be absent."""

    value: int = uint64(1)


class Int32Value(Message, package=_PACKAGE):
    """A number that may be absent."""

    value: int = int32(1)


class UInt32Value(Message, package=_PACKAGE):
    """A number that may be absent."""

    value: int = uint32(1)


class BoolValue(Message, package=_PACKAGE):
    """A truth that may be absent."""

    value: bool = boolean(1)


class StringValue(Message, package=_PACKAGE):
    """A text that may be absent."""

    value: str = string(1)
