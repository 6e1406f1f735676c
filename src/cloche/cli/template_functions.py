"""The functions of `--format` templates, and how Go prints, compares and looks into values."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Value = Any

NO_VALUE = "<no value>"


class _Missing:
    """A key that a map of the user's does not have: false, and printed as Go does."""

    def __bool__(self) -> bool:
        return False


MISSING = _Missing()


def is_true(value: Value) -> bool:
    """Go's truth: false, 0, nil and what is empty are not."""
    return bool(value)


def text_of(value: Value) -> str:
    """A value as Go's fmt prints it with %v."""
    if isinstance(value, str):
        return value
    if value is True or value is False:
        return "true" if value else "false"
    if value is None:
        return "<nil>"
    if value is MISSING:
        return NO_VALUE
    if isinstance(value, dict):
        return "map[" + " ".join(f"{text_of(k)}:{text_of(v)}" for k, v in sorted(value.items())) + "]"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(text_of(item) for item in value) + "]"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e21 else repr(value)
    return str(value)


def field(value: Value, name: str) -> Value:
    """`.Name` of a value. Raises LookupError where it has none.

    Names of documented fields begin with a capital letter; a lower-case one asks for a key of a
    user's map (labels, annotations), and that may be missing.
    """
    if isinstance(value, dict):
        if name in value:
            return value[name]
        if not name[0].isupper():
            return MISSING
        raise LookupError(f'map has no entry for key "{name}"')
    if value is None or value is MISSING:
        raise LookupError(f'nil data; no entry for key "{name}"')
    raise LookupError(f"can't evaluate field {name} of {text_of(value)}")


def _json(value: Value) -> str:
    # Not cloche.spec.document: people read this, so what is not ASCII stays as it is.
    import json

    if isinstance(value, dict):
        value = {key: each for key, each in value.items() if not callable(each)}  # methods are no data
    return json.dumps(None if value is MISSING else value, ensure_ascii=False, separators=(",", ":"))


def _index(value: Value, *keys: Value) -> Value:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key, "")
        elif isinstance(value, (list, tuple, str)):
            if isinstance(key, bool) or not isinstance(key, int):
                raise TypeError(f"cannot index a list with {text_of(key)}")
            if not 0 <= key < len(value):
                raise LookupError(f"index out of range: {key}")
            value = value[key]
        else:
            raise TypeError(f"can't index {text_of(value)}")
    return value


def _slice(value: Value, *bounds: int) -> Value:
    first, last = (bounds + (0, len(value))[len(bounds) :])[:2]
    if not 0 <= first <= last <= len(value):
        raise LookupError(f"index out of range: {first}:{last}")
    return value[first:last]


def _and(first: Value, *rest: Value) -> Value:
    for value in rest:
        if not is_true(first):
            break
        first = value
    return first


def _or(first: Value, *rest: Value) -> Value:
    for value in rest:
        if is_true(first):
            break
        first = value
    return first


def _equal(first: Value, second: Value, *others: Value) -> bool:
    return any(first == other and type(first) is type(other) for other in (second, *others))


def _print(*values: Value) -> str:
    # Go's Sprint puts a blank only between two operands of which neither is text.
    parts: list[str] = []
    previous: Value = ""
    for position, value in enumerate(values):
        if position and not isinstance(value, str) and not isinstance(previous, str):
            parts.append(" ")
        parts.append(text_of(value))
        previous = value
    return "".join(parts)


def _println(*values: Value) -> str:
    return " ".join(text_of(value) for value in values) + "\n"


def _printf(form: str, *values: Value) -> str:
    """fmt.Sprintf for the verbs v, s, q, d, x, f, t and %, with flags and width."""
    parts: list[str] = []
    rest = list(values)
    position = 0
    while (start := form.find("%", position)) >= 0:
        parts.append(form[position:start])
        end = start + 1
        while end < len(form) and form[end] in "-+# 0123456789.":
            end += 1
        verb = form[end : end + 1]
        if verb == "%":
            parts.append("%")
        elif not rest:
            parts.append(f"%!{verb}(MISSING)")
        else:
            parts.append(_formatted(form[start + 1 : end], verb, rest.pop(0)))
        position = end + 1
    return "".join(parts) + form[position:]


def _formatted(flags: str, verb: str, value: Value) -> str:
    if any(len(digits) > 4 for digits in flags.replace("-", " ").replace(".", " ").split()):
        raise ValueError(f"printf: a width of {flags} is too much")
    if verb in "dxXof" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"%{flags}{verb}" % value
    if verb == "q":
        from cloche.cli.human import quoted

        return f"%{flags}s" % quoted(text_of(value))
    if verb in "vst":
        return f"%{flags}s" % text_of(value)
    return f"%!{verb}({text_of(value)})"


def _pad(text: str, before: int, after: int) -> str:
    return " " * min(before, 1000) + text + " " * min(after, 1000) if text else text


def _truncate(text: str, length: int) -> str:
    return text[: max(length, 0)]


def _length(value: Value) -> int:
    return len(value.encode()) if isinstance(value, str) else len(value)


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "and": _and,
    "eq": _equal,
    "ge": lambda a, b: a >= b,
    "gt": lambda a, b: a > b,
    "index": _index,
    "join": lambda items, separator: separator.join(text_of(item) for item in items),
    "json": _json,
    "le": lambda a, b: a <= b,
    "len": _length,
    "lower": lambda text: text_of(text).lower(),
    "lt": lambda a, b: a < b,
    "ne": lambda a, b: a != b,
    "not": lambda value: not is_true(value),
    "or": _or,
    "pad": _pad,
    "print": _print,
    "printf": _printf,
    "println": _println,
    "slice": _slice,
    "split": lambda text, separator: text.split(separator),
    "title": lambda text: text[:1].upper() + text[1:],
    "truncate": _truncate,
    "upper": lambda text: text_of(text).upper(),
}
