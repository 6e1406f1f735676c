"""Durations, sizes and times as docker words them for people."""

from __future__ import annotations

import time

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

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")


def duration(seconds: float) -> str:
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


def ago(seconds: float) -> str:
    """duration() with its direction."""
    return f"{duration(seconds)} ago"


def size(size_bytes: float, *, digits: int = 4) -> str:
    """A size in decimal units: "1.24MB", "0B". digits: significant ones."""
    return _scaled(size_bytes, 1000, _DECIMAL, digits)


def binary_size(size_bytes: float) -> str:
    """A size in binary units with four significant digits: "1.5MiB"."""
    return _scaled(size_bytes, 1024, _BINARY, 4)


def _scaled(value: float, base: int, units: tuple[str, ...], digits: int) -> str:
    index = 0
    while value >= base and index < len(units) - 1:
        value /= base
        index += 1
    text = f"{value:.{digits}g}"
    if "e" in text:  # 999.96 in three digits: the next unit says it better
        text = f"{value:.0f}" if base > 1000 or index == len(units) - 1 else "1"
        index += text == "1"
    return text + units[index]


def local_time(seconds: float) -> str:
    """A moment as `ps` prints it: "2026-01-02 15:04:05 +0000 UTC"."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(seconds))


def quoted(text: str) -> str:
    """Text in double quotes with Go's escapes, so that nothing in it reaches the terminal raw."""
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(c) or (c if c.isprintable() else _escape(c)) for c in text) + '"'


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return {7: "\\a", 8: "\\b", 11: "\\v", 12: "\\f"}.get(code, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shortened(text: str, length: int) -> str:
    """At most `length` characters, the last one an ellipsis where something was cut."""
    return text if len(text) <= length else text[: length - 1] + "\u2026"
