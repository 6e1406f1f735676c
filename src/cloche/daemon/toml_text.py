"""TOML written: the standard library only reads it."""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def dumps(tree: Mapping[str, Any]) -> str:
    """A tree of tables, lists, strings, numbers and truths. Raises TypeError for anything else.

    Tables are indented by their depth, as containerd prints them.
    """
    return "\n".join(_lines(tree, (), 0)) + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...], depth: int) -> Iterator[str]:
    indent = "  " * depth
    for name, value in table.items():
        if not isinstance(value, dict):
            yield f"{indent}{key(name)} = {_value(value)}"
    for name, value in table.items():
        if isinstance(value, dict):
            inner = (*path, name)
            if path or depth == 0:
                yield ""
            yield f"{indent}[{'.'.join(map(key, inner))}]"
            yield from _lines(value, inner, depth + 1)


def key(name: str) -> str:
    """A key, quoted where it has to be."""
    return name if name and _BARE.issuperset(name) else _string(name)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(value) if math.isfinite(value) else ("nan" if math.isnan(value) else f"{value:+}")
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key(name)} = {_value(inner)}" for name, inner in value.items()) + "}"
    raise TypeError(f"{type(value).__name__} cannot be written as TOML")


def _string(text: str) -> str:
    if "'" not in text and text.isprintable():
        return f"'{text}'"
    escaped = []
    for character in text:
        if character in _ESCAPES:
            escaped.append(_ESCAPES[character])
        elif ord(character) < 0x20 or ord(character) == 0x7F:
            escaped.append(f"\\u{ord(character):04X}")
        else:
            escaped.append(character)
    return f'"{"".join(escaped)}"'
