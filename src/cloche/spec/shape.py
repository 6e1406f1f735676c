"""Small checks of JSON values, from which a table of a document's shape is put together.

A check is a function of one value. It raises MisfitError with what is wrong; the checks of objects and
lists around it add their member name or index while the error passes through them, so that a
value that fits costs nothing for its place. A member that is null is taken out of its object: null
is how other languages' encoders write an absent value.
"""

from __future__ import annotations

from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[[object], None]

_QUOTED_MOST = 80


class MisfitError(Exception):
    """A value that does not fit, with its place as the names and indexes down to it, innermost first."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        self.place: list[str] = []

    def within(self, step: str) -> MisfitError:
        """The same, seen from the value around it; step is `.name` or `[index]`."""
        self.place.append(step)
        return self

    def refusal(self, document: str) -> InvalidArgument:
        """The error for the user; document: the file's name."""
        place = "".join(reversed(self.place)).lstrip(".")
        return InvalidArgument(": ".join(part for part in (document, place, self.problem) if part))


def quoted(text: str) -> str:
    """Text of a stranger for a message: one line, printable, of a bounded length."""
    shown = text if len(text) <= _QUOTED_MOST else text[:_QUOTED_MOST] + "…"
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown) + '"'


def kind(value: object) -> str:
    """The JSON type of a value in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "an object"


def _step(key: str) -> str:
    return f".{key}" if key.isidentifier() and len(key) <= _QUOTED_MOST else f"[{quoted(key)}]"


def text(value: object) -> None:
    """A string that can be handed to the kernel: UTF-8, no NUL."""
    if type(value) is not str:
        raise MisfitError(f"must be a string, not {kind(value)}")
    if "\0" in value:
        raise MisfitError("must not hold a NUL character")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise MisfitError("must not hold half of a surrogate pair")


def name(value: object) -> None:
    """A text that is not empty."""
    text(value)
    if not value:
        raise MisfitError("must not be empty")


def absolute(value: object) -> None:
    """An absolute path."""
    name(value)
    if not str(value).startswith("/"):
        raise MisfitError(f"{quoted(str(value))} must be an absolute path")


def texts(value: object) -> None:
    """A list of texts."""
    if type(value) is not list:
        raise MisfitError(f"must be a list, not {kind(value)}")
    try:
        joined = "".join(value)
    except TypeError:
        joined = "\0"
    if joined.isascii() and "\0" not in joined:
        return
    for index, item in enumerate(value):
        try:
            text(item)
        except MisfitError as misfit:
            raise misfit.within(f"[{index}]") from None


def flag(value: object) -> None:
    """true or false."""
    if type(value) is not bool:
        raise MisfitError(f"must be true or false, not {kind(value)}")


def whole(least: int, most: int) -> Check:
    """A whole number from least to most."""

    def check(value: object) -> None:
        if type(value) is not int:
            what = str(value) if type(value) is float else kind(value)
            raise MisfitError(f"must be a whole number, not {what}")
        if not least <= value <= most:
            shown = value if -(10**20) < value < 10**20 else "one of that size"
            raise MisfitError(f"must be a number from {least} to {most}, not {shown}")

    return check


def choice(*words: str) -> Check:
    """One of some words."""
    known = frozenset(words)

    def check(value: object) -> None:
        if value in known if type(value) is str else False:
            return
        text(value)
        raise MisfitError(f"{quoted(str(value))} is not known; it can be {', '.join(w for w in words if w)}")

    return check


def listing(item: Check) -> Check:
    """A list in which each item fits a check."""

    def check(value: object) -> None:
        if type(value) is not list:
            raise MisfitError(f"must be a list, not {kind(value)}")
        for index, each in enumerate(value):
            try:
                item(each)
            except MisfitError as misfit:
                raise misfit.within(f"[{index}]") from None

    return check


def _without_nulls(document: dict[str, object]) -> None:
    for key in [key for key, value in document.items() if value is None]:
        del document[key]


def _object(value: object) -> dict[str, object]:
    """What must be an object; its null members are gone then."""
    if type(value) is not dict:
        raise MisfitError(f"must be an object, not {kind(value)}")
    if None in value.values():
        _without_nulls(value)
    return value


def mapping(item: Check) -> Check:
    """An object whose member names are the user's own, each value fitting a check."""

    def check(value: object) -> None:
        found = _object(value)
        for key, each in found.items():
            try:
                text(key)
                item(each)
            except MisfitError as misfit:
                raise misfit.within(f"[{quoted(key)}]") from None

    return check


def members(checks: dict[str, Check], *required: str) -> Check:
    """An object with known members, of which some must be there; unknown members are left alone."""

    def check(value: object) -> None:
        found = _object(value)
        for key, each in found.items():
            fits = checks.get(key)
            if fits is not None:
                try:
                    fits(each)
                except MisfitError as misfit:
                    raise misfit.within(_step(key)) from None
        for key in required:
            if key not in found:
                raise MisfitError("is missing").within(_step(key))

    return check
