"""Times as Docker and OCI write them: RFC 3339 in UTC, to the nanosecond."""

from __future__ import annotations

import time


def rfc3339(time_ns: int) -> str:
    """`2026-01-02T03:04:05.000000006Z` for nanoseconds since 1970."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z"


def now() -> str:
    """The present moment."""
    return rfc3339(time.time_ns())


def parse(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time. Raises ValueError for anything else."""
    body, offset_s = _split_zone(text)
    date, separator, clock = body.partition("T")
    if not separator:
        raise ValueError(f"{text!r} is no RFC 3339 time")
    year, month, day = (int(part) for part in date.split("-"))
    hour, minute, rest = clock.split(":")
    second, _, fraction = rest.partition(".")
    if not (1 <= month <= 12 and 1 <= day <= 31):
        raise ValueError(f"{text!r} is no RFC 3339 time")
    seconds = _days(year, month, day) * 86400 + int(hour) * 3600 + int(minute) * 60 + int(second) - offset_s
    return seconds * 1_000_000_000 + int((fraction + "000000000")[:9] or 0)


def _split_zone(text: str) -> tuple[str, int]:
    if text[-1:] in ("Z", "z"):
        return text[:-1], 0
    body, sign, zone = text[:-6], text[-6:-5], text[-5:]
    if sign not in ("+", "-") or zone[2:3] != ":":
        raise ValueError(f"{text!r} is no RFC 3339 time")
    seconds = int(zone[:2]) * 3600 + int(zone[3:]) * 60
    return body, -seconds if sign == "-" else seconds


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the Gregorian calendar; years start in March for the sum."""
    year -= month <= 2
    era, month = year // 400, (month + 9) % 12
    of_era = year - era * 400
    of_year = (153 * month + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
