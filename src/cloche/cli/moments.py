"""Points in time as people write them for `logs --since`, and as RFC 3339 documents hold them.

Seconds since 1970 throughout. Without datetime, whose import costs more than these lines.
"""

from __future__ import annotations

import time

from cloche.errors import InvalidArgument

_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "ns": 1e-9}
_LONGEST_TEXT = 64


def parse(text: str, *, now: float | None = None) -> float:
    """Seconds since 1970 of "2026-01-02T03:04:05Z", "2026-01-02", "1767323045.5" or "1h30m" ago.

    A time without a zone is local. now: what "ago" counts from. Raises InvalidArgument.
    """
    word = text.strip()
    try:
        if not word or len(word) > _LONGEST_TEXT or not word.isprintable():
            raise ValueError(word)
        if word.replace(".", "", 1).isdigit() and word.isascii():
            return float(word)
        if word[-1] in "hms" and word[0] in "0123456789.":
            return (time.time() if now is None else now) - _duration(word)
        return rfc3339(word)
    except (ValueError, OverflowError):
        raise InvalidArgument(
            f"invalid time {text[:_LONGEST_TEXT]!r}: use 2026-01-02T15:04:05Z, seconds since 1970 or 10m"
        ) from None


def _duration(text: str) -> float:
    """Go's durations: numbers with units, as 1h30m or 1.5s."""
    total, position = 0.0, 0
    while position < len(text):
        start = position
        while position < len(text) and text[position] in "0123456789.":
            position += 1
        number = text[start:position]
        start = position
        while position < len(text) and text[position] not in "0123456789.":
            position += 1
        if text[start:position] not in _UNIT_SECONDS:
            raise ValueError(text)
        total += float(number) * _UNIT_SECONDS[text[start:position]]
    return total


def rfc3339(text: str) -> float:
    """Seconds since 1970 of an RFC 3339 time, of which all after the day may be missing.

    Raises ValueError.
    """
    day, mark, clock = text.partition("T") if "T" in text else text.partition(" ")
    year, month, month_day = _numbers(day, "-", 3)
    if not (1 <= month <= 12 and 1 <= month_day <= 31 and 1 <= year <= 9999):
        raise ValueError(text)
    if not mark:
        return _local(year, month, month_day, 0, 0, 0)
    clock, zone = _split_zone(clock)
    clock, _, digits = clock.partition(".")
    fraction = float(f"0.{_digits(digits)}") if digits else 0.0
    hour, minute, second = (*_numbers(clock, ":", clock.count(":") + 1), 0, 0)[:3]
    if not (0 <= hour <= 24 and 0 <= minute <= 59 and 0 <= second <= 60) or clock.count(":") > 2:
        raise ValueError(text)
    if zone is None:
        return _local(year, month, month_day, hour, minute, second) + fraction
    return _days(year, month, month_day) * 86400.0 + hour * 3600 + minute * 60 + second - zone + fraction


def _split_zone(clock: str) -> tuple[str, int | None]:
    """The clock, and how many seconds its zone is ahead of UTC (None: not said)."""
    if clock.endswith(("Z", "z")):
        return clock[:-1], 0
    for sign, direction in (("+", 1), ("-", -1)):
        before, found, zone = clock.rpartition(sign)
        if found:
            hours, minutes = _numbers(zone, ":", 2)
            return before, direction * (hours * 3600 + minutes * 60)
    return clock, None


def _numbers(text: str, separator: str, count: int) -> list[int]:
    parts = text.split(separator)
    if len(parts) != count:
        raise ValueError(text)
    return [int(_digits(part)) for part in parts]


def _digits(text: str) -> str:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError(text)
    return text


def _local(year: int, month: int, day: int, hour: int, minute: int, second: int) -> float:
    return time.mktime((year, month, day, hour, minute, second, 0, 0, -1))


def _days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01, counting years from March so that the leap day comes last."""
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * ((month - 3) % 12) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * 146097 + day_of_era - 719468
