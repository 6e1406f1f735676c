"""What can happen on a SPDY connection and not on one of HTTP/2, whose events serve for the rest."""

from __future__ import annotations

from cloche.wire.http2_events import Closed, Data, Reset, Writable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias


class Opened:
    """The peer opened a stream. headers: their names in lower case. end: nothing follows.

    It is answered by `reply`, or by `reset`.
    """

    __slots__ = ("end", "headers", "stream")

    def __init__(self, stream: int, headers: dict[str, str], *, end: bool) -> None:
        self.stream = stream
        self.headers = headers
        self.end = end


class Replied:
    """The peer took a stream of ours. end: nothing follows."""

    __slots__ = ("end", "headers", "stream")

    def __init__(self, stream: int, headers: dict[str, str], *, end: bool) -> None:
        self.stream = stream
        self.headers = headers
        self.end = end


class Pinged:
    """The peer answered our ping of that number."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class GoneAway:
    """The peer takes no more streams. last: the number of the last one that it deals with."""

    __slots__ = ("code", "last")

    def __init__(self, last: int, code: int) -> None:
        self.last = last
        self.code = code


if TYPE_CHECKING:
    Event: TypeAlias = Opened | Replied | Data | Reset | Writable | Pinged | GoneAway | Closed
