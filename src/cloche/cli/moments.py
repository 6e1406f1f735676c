"""Points in time as people write them for `logs --since`: nanoseconds since 1970 come out."""

from __future__ import annotations

import time

from cloche.errors import InvalidArgument
from cloche.shim import timestamps

_SECOND_NS = 1_000_000_000
_UNIT_NS = {
    "h": 3600 * _SECOND_NS,
    "m": 60 * _SECOND_NS,
    "s": _SECOND_NS,
    "ms": 1_000_000,
    "us": 1_000,
    "\u00b5s": 1_000,
    "ns": 1,
}
_LONGEST_TEXT = 64
_DIGITS = frozenset("0123456789")


def parse(text: str, *, now_ns: int | None = None) -> int:
    """Nanoseconds since 1970 of "2026-01-02T03:04:05Z", "2026-01-02", "1767323045.5" or "1h30m" ago.

    A time without a zone is local. now_ns: what "ago" counts from. Raises InvalidArgument.
    """
    word = text.strip()
    try:
        if not word or len(word) > _LONGEST_TEXT or (not word.isascii() and "\u00b5" not in word):
            raise ValueError(word)
        if not set(word) - _DIGITS - {"."}:
            return _scaled(word, _SECOND_NS)
        if word[-1] in "hms" and word[0] in "0123456789.":
            return (time.time_ns() if now_ns is None else now_ns) - _duration_ns(word)
        return _calendar_ns(word)
    except (ValueError, OverflowError):
        raise InvalidArgument(
            f"invalid time {text[:_LONGEST_TEXT]!r}: use 2026-01-02T15:04:05Z, seconds since 1970 or 10m"
        ) from None


def _scaled(number: str, unit_ns: int) -> int:
    """A decimal number of units, without the rounding of floats."""
    whole, dot, fraction = number.partition(".")
    if not (whole or fraction) or "." in fraction or (dot and not fraction and not whole):
        raise ValueError(number)
    return int(whole or 0) * unit_ns + int((fraction + "000000000")[:9]) * unit_ns // _SECOND_NS


def _duration_ns(text: str) -> int:
    """Go's durations: numbers with units, as 1h30m or 1.5s."""
    total, position = 0, 0
    while position < len(text):
        number = _run(text, position, digits=True)
        unit = _run(text, position + len(number), digits=False)
        if unit not in _UNIT_NS:
            raise ValueError(text)
        total += _scaled(number, _UNIT_NS[unit])
        position += len(number) + len(unit)
    return total


def _run(text: str, start: int, *, digits: bool) -> str:
    end = start
    while end < len(text) and (text[end] in _DIGITS or text[end] == ".") == digits:
        end += 1
    return text[start:end]


def _calendar_ns(text: str) -> int:
    """An RFC 3339 time, of which the zone, the seconds, or all after the day may be missing."""
    day, mark, clock = text.partition("T") if "T" in text else text.partition(" ")
    if not mark:
        clock = "00:00"
    clock, zone = _split_zone(clock)
    if clock.count(":") == 1:
        clock += ":00"
    if any(character not in "0123456789-:." for character in day + clock):
        raise ValueError(text)
    moment = timestamps.parse(f"{day}T{clock}{zone or 'Z'}")
    hour, minute, second = clock.split(":")
    if int(hour) > 23 or int(minute) > 59 or float(second) >= 61:
        raise ValueError(text)
    if zone:
        return moment
    seconds, nanoseconds = divmod(moment, _SECOND_NS)
    return int(time.mktime((*time.gmtime(seconds)[:6], 0, 0, -1))) * _SECOND_NS + nanoseconds


def _split_zone(clock: str) -> tuple[str, str]:
    """The clock, and what it says of its zone, which may be nothing."""
    if clock.endswith(("Z", "z")):
        return clock[:-1], "Z"
    for sign in "+-":
        before, found, zone = clock.rpartition(sign)
        if found:
            return before, sign + zone
    return clock, ""
