"""The language in which containerd's clients choose among things.

    name==docker.io/library/busybox:latest,labels.tier!="a b"      all of one filter must hold
    labels."containerd.io/gc.root"                                  is there
    name~=/^docker\\.io\\//                                           a regular expression is found

One of several filters is enough; without any everything matches. A regular expression may also be
quoted by `/` or `|`, so that its backslashes and quotes need no others.
"""

from __future__ import annotations

from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Fields = Callable[[tuple[str, ...]], str | None]
    """What a thing answers for a path of field names: text, or None where it has no such field."""

_OPERATORS = ("==", "!=", "~=")
_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}


class Filter:
    """Filters as a client gave them, compiled."""

    def __init__(self, alternatives: Sequence[Sequence[Callable[[Fields], bool]]]) -> None:
        self._alternatives = alternatives

    def __bool__(self) -> bool:
        """Whether there is anything that could not match."""
        return bool(self._alternatives)

    def matches(self, fields: Fields) -> bool:
        """Whether a thing is chosen."""
        if not self._alternatives:
            return True
        return any(all(selector(fields) for selector in each) for each in self._alternatives)


def parse(filters: Sequence[str]) -> Filter:
    """Compile filters. Raises InvalidArgument, which says where one of them cannot be read."""
    if not all(filters):
        return Filter(())  # an empty one matches everything
    return Filter([_Parser(text).selectors() for text in filters])


def in_map(path: Sequence[str], values: Mapping[str, str]) -> str | None:
    """The value of a label or the like: the rest of the path is its name, dots and all."""
    return values.get(".".join(path))


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def selectors(self) -> list[Callable[[Fields], bool]]:
        found = [self._selector()]
        while self._peek() == ",":
            self._position += 1
            found.append(self._selector())
        if self._peek():
            raise self._error(f"unexpected input: {self._peek()}")
        return found

    def _selector(self) -> Callable[[Fields], bool]:
        path = [self._field()]
        while self._peek() == ".":
            self._position += 1
            path.append(self._field())
        names = tuple(path)
        if self._peek() in ("", ","):
            return lambda fields: fields(names) is not None
        operator = self._operator()
        value = self._value(expression=operator == "~=")
        if operator == "==":
            return lambda fields: fields(names) == value
        if operator == "!=":
            return lambda fields: (fields(names) or "") != value
        return _finder(names, value)

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _skip_space(self) -> None:
        while self._peek().isspace():
            self._position += 1

    def _field(self) -> str:
        self._skip_space()
        start = self._position
        if self._peek() in ('"', "/", "|") and self._peek():
            return self._quoted('"')
        while (character := self._peek()).isascii() and (character.isalnum() or character == "_"):
            self._position += 1
        if start == self._position:
            raise self._error("expected field or quoted")
        return self._text[start : self._position]

    def _operator(self) -> str:
        self._skip_space()
        start = self._position
        while self._peek() and self._peek() in "=!~":
            self._position += 1
        operator = self._text[start : self._position]
        if operator not in _OPERATORS:
            self._position = start
            wrong = f'unsupported operator "{operator}"' if operator else "expected an operator"
            raise self._error(f'{wrong} ("=="|"!="|"~=")')
        return operator

    def _value(self, *, expression: bool) -> str:
        self._skip_space()
        start = self._position
        if self._peek() and self._peek() in '"/|':
            return self._quoted('"/|' if expression else '"')
        if self._peek() in ("", ",", "."):
            raise self._error("expected value or quoted")
        while (
            (character := self._peek()) and character != "," and character.isprintable() and character != " "
        ):
            self._position += 1
        return self._text[start : self._position]

    def _quoted(self, allowed: str) -> str:
        quote, start = self._peek(), self._position
        if quote not in allowed:
            raise self._error("invalid quote encountered")
        self._position += 1
        value = bytearray()
        while (character := self._peek()) != quote:
            if character in ("", "\n"):
                self._position = start
                raise self._error("quoted literal not terminated")
            self._position += 1
            value += self._escape(quote) if character == "\\" else character.encode(errors="surrogatepass")
        self._position += 1
        return value.decode(errors="replace")

    def _escape(self, quote: str) -> bytes:
        """What stands behind a backslash, as in Go's literals."""
        character = self._peek()
        self._position += 1
        if character == quote:
            return quote.encode()
        if character in _ESCAPES:
            return bytes((_ESCAPES[character],))
        if character in _HEX_DIGITS:
            number = self._number(_HEX_DIGITS[character], 16)
            return bytes((number,)) if character == "x" else self._character(number)
        if character and character in "01234567":
            self._position -= 1
            return self._number(3, 8).to_bytes(2, "big")[-1:]
        self._position -= 1
        raise self._error("illegal escape sequence")

    def _number(self, length: int, base: int) -> int:
        digits = self._text[self._position : self._position + length]
        try:
            if len(digits) < length or not digits.isalnum():
                raise ValueError
            number = int(digits, base)
        except ValueError:
            raise self._error("illegal numeric escape sequence") from None
        self._position += length
        return number

    def _character(self, number: int) -> bytes:
        if number > 0x10FFFF or 0xD800 <= number < 0xE000:
            raise self._error("illegal numeric escape sequence")
        return chr(number).encode()

    def _error(self, what: str) -> InvalidArgument:
        text, position = self._text, self._position
        place = f"{text[:position]} >|{text[position : position + 1]}|< {text[position + 1 :]}"
        return InvalidArgument(f"filters: parse error: [{place if position < len(text) else text}]: {what}")


def _finder(names: tuple[str, ...], expression: str) -> Callable[[Fields], bool]:
    import re

    try:
        compiled = re.compile(expression)
    except re.error as error:
        raise InvalidArgument(f"filters: {expression!r} is no regular expression: {error}") from None
    return lambda fields: compiled.search(fields(names) or "") is not None
