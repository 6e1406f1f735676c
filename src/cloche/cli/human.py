"""Durations, sizes and times as docker words them for people."""

from __future__ import annotations

import time

from cloche.engine.durations import in_words

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")


def ago(seconds: float) -> str:
    """How long ago something was, in one rough unit: "2 minutes ago"."""
    return f"{in_words(seconds)} ago"


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
