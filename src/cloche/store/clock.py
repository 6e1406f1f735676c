"""The time as the stores keep it: whole nanoseconds since 1970, UTC.

Whatever expires asks this clock, so that a test can move it instead of waiting.
"""

from __future__ import annotations

import time

from cloche.errors import InvalidArgument

SECOND = 1_000_000_000
HOUR = 3600 * SECOND

_offset = 0


def now() -> int:
    """Nanoseconds since 1970, moved by what `advance` was told."""
    return time.time_ns() + _offset


def advance(nanoseconds: int) -> None:
    """Move this process's clock; for tests."""
    global _offset
    _offset += nanoseconds


def format_rfc3339(nanoseconds: int) -> str:
    """A time as Docker and containerd print it: 2024-01-31T12:00:00.000000001Z."""
    seconds, fraction = divmod(nanoseconds, SECOND)
    digits = f"{fraction:09d}".rstrip("0")
    point = "." if digits else ""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}{point}{digits}Z"


def parse_rfc3339(text: str) -> int:
    """The time that an RFC 3339 text means, in nanoseconds since 1970.

    Raises InvalidArgument for anything else, and for a time without its offset from UTC.
    """
    from datetime import UTC, datetime, timedelta

    complaint = f"{text!r}: must be a time such as 2024-01-31T12:00:00Z"
    head, point, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if len(head) < len("2024-01-31T12:00:00") or head[10] not in "Tt " or (point and not digits):
        raise InvalidArgument(complaint)
    try:
        moment = datetime.fromisoformat((head + rest[len(digits) :]).upper())
    except ValueError:
        raise InvalidArgument(complaint) from None
    if moment.tzinfo is None:
        raise InvalidArgument(complaint)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(seconds=1) * SECOND + int(digits[:9].ljust(9, "0") or 0)
