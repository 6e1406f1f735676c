"""What can happen on an HTTP/2 connection, as its user is told."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from cloche.wire.http2_headers import Head


class Headers:
    """A head came: of a request or response, or trailers where the stream had one. end: nothing follows."""

    __slots__ = ("end", "head", "stream")

    def __init__(self, stream: int, head: Head, end: bool) -> None:  # noqa: FBT001 - one a frame: keywords cost
        self.stream = stream
        self.head = head
        self.end = end


class Data:
    """Content came. Say `consumed(stream, len(data))` when there is room for more. end: nothing follows."""

    __slots__ = ("data", "end", "stream")

    def __init__(self, stream: int, data: bytes, end: bool) -> None:  # noqa: FBT001 - one a frame: keywords cost
        self.stream = stream
        self.data = data
        self.end = end


class Reset:
    """A stream is over before its end. code: HTTP/2's; reason: for people."""

    __slots__ = ("code", "reason", "stream")

    def __init__(self, stream: int, code: int, reason: str) -> None:
        self.stream = stream
        self.code = code
        self.reason = reason


class Writable:
    """All that waited on a stream is sent."""

    __slots__ = ("stream",)

    def __init__(self, stream: int) -> None:
        self.stream = stream


class PingAnswered:
    """The peer answered our ping. payload: its eight bytes."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


class GoneAway:
    """The peer takes no more streams. last: the number of the last one that it deals with."""

    __slots__ = ("code", "last", "reason")

    def __init__(self, last: int, code: int, reason: str) -> None:
        self.last = last
        self.code = code
        self.reason = reason


class Closed:
    """The connection is over, since the peer broke a rule. code: HTTP/2's."""

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason


if TYPE_CHECKING:
    Event: TypeAlias = Headers | Data | Reset | Writable | PingAnswered | GoneAway | Closed
