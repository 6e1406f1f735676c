"""What a configuration may say: which keys there are, and what stands at each of them."""

from __future__ import annotations

from cloche.daemon import config_tables as tables
from cloche.daemon.config_tables import Each, Free, Span
from cloche.daemon.config_used import USED
from cloche.daemon.toml_text import key
from cloche.errors import InvalidArgument
from cloche.spec import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list of texts",
}


def check(tree: Mapping[str, Any], file: str, keys: Mapping[str, Any] = tables.TOP) -> list[str]:
    """Warnings of keys that mean nothing. Raises InvalidArgument for a value of the wrong type."""
    return list(_check(tree, keys, (), file))


def _check(value: Any, keys: Any, path: tuple[str, ...], file: str) -> Iterator[str]:
    if isinstance(keys, Free):
        return
    if not isinstance(keys, dict | Each):
        _check_value(value, keys, path, file)
        return
    if not isinstance(value, dict):
        raise InvalidArgument(f"{file}: {_dotted(path)}: a table is needed, not {value!r}")
    for name, inner in value.items():
        below = (*path, name)
        if isinstance(keys, Each):
            yield from _check(inner, keys.keys, below, file)
        elif name in keys:
            yield from _check(inner, keys[name], below, file)
        else:
            yield f"{file}: {_dotted(below)} means nothing to cloched and is ignored"


def _check_value(value: Any, sample: object, path: tuple[str, ...], file: str) -> None:
    kind = str if isinstance(sample, Span) else type(sample)
    fits = isinstance(value, int | float) if kind is float else isinstance(value, kind)
    if isinstance(value, bool) and kind is not bool:
        fits = False
    if fits and kind is list:
        fits = all(isinstance(one, str) for one in value)
    if not fits:
        raise InvalidArgument(f"{file}: {_dotted(path)}: {_KINDS[kind]} is needed, not {value!r}")
    if isinstance(sample, Span):
        try:
            read_span(value)
        except InvalidArgument as error:
            raise InvalidArgument(f"{file}: {_dotted(path)}: {error}") from None


def unused(
    tree: Mapping[str, Any],
    keys: Mapping[str, Any] = tables.TOP,
    acted_on: tuple[tuple[str, ...], ...] = USED,
) -> list[str]:
    """Warnings of keys that mean something elsewhere but are not acted on, and are not as by default."""
    return [
        f"{_dotted(path)} has no effect yet"
        for path, value, known in _leaves(tree, keys, ())
        if value != known and not any(_covers(used, path) for used in acted_on)
    ]


def _covers(used: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return len(used) <= len(path) and all(mine in ("*", name) for mine, name in zip(used, path, strict=False))


def _leaves(
    value: Any, keys: Any, path: tuple[str, ...], entries: Any = None
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    if isinstance(keys, Free):
        known = keys.default if entries is None else entries
        if isinstance(value, dict) and isinstance(known, dict):
            yield from (((*path, name), inner, known.get(name)) for name, inner in value.items())
        else:
            yield path, value, known
    elif isinstance(keys, Each):
        for name, inner in value.items():
            yield from _leaves(inner, keys.keys, (*path, name), keys.entries.get(name))
    elif isinstance(keys, dict):
        for name, inner in value.items():
            if name in keys:
                special = entries.get(name) if isinstance(entries, dict) else None
                yield from _leaves(inner, keys[name], (*path, name), special)
    else:
        yield path, value, keys if entries is None else entries


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(map(key, path))


def read_span(text: str) -> float:
    """Seconds of a length of time as Go writes it ("1h30m", "100ms"); 0 for none. Raises InvalidArgument."""
    rest = text.removeprefix("-")
    if rest in ("", "0"):
        return 0.0
    total = duration.seconds(rest)
    return -total if text.startswith("-") else total
