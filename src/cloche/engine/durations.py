"""Lengths of time in the words that docker shows people."""

from __future__ import annotations

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
# (below this many seconds, length of the unit in seconds, its name)
_UNITS = (
    (_MINUTE, 1, "second"),
    (_HOUR, _MINUTE, "minute"),
    (2 * _DAY, _HOUR, "hour"),
    (14 * _DAY, _DAY, "day"),
    (60 * _DAY, 7 * _DAY, "week"),
    (730 * _DAY, 30 * _DAY, "month"),
)
_YEAR = 365 * _DAY


def in_words(seconds: float) -> str:
    """A length of time in one rough unit: "2 minutes", "About an hour", "Less than a second"."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if _MINUTE <= whole < 2 * _MINUTE:
        return "About a minute"
    # From an hour on, docker rounds to whole hours first and cuts the larger units from these.
    rounded = int(seconds / _HOUR + 0.5) * _HOUR
    if whole >= _HOUR and rounded == _HOUR:
        return "About an hour"
    for limit, unit, name in _UNITS:
        measured = whole if unit < _HOUR else rounded
        if measured < limit:
            return f"{measured // unit} {name}s"
    return f"{whole // _YEAR} years"
