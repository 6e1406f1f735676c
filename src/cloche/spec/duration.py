"""Lengths of time as Go's programs and their configurations write them: 500ms, 1.5s, 1h30m."""

from __future__ import annotations

from cloche.errors import InvalidArgument

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """The length in seconds; 0 for an empty text. Raises InvalidArgument, with the text alone in it."""
    total_s, rest = 0.0, text
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = rest[: len(rest) - len(rest.lstrip("nuµmsh"))]
        rest = rest[len(unit) :]
        if unit not in _UNITS_S or number.count(".") > 1 or not number.strip("."):
            raise InvalidArgument(f"{text[:40]!r} is no length of time: write it like 1h30m or 100ms")
        total_s += float(number) * _UNITS_S[unit]
    return total_s
