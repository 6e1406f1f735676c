"""D-Bus values written as text, as annotations of a container have them: `uint64 30`, `'idle'`, `@as []`.

The notation is GVariant's: a number is an `int32` and one with a point a `double`, unless its type
stands in front, as a word or as `@` and a signature. `[…]` is an array, `{key: value}` a dictionary,
`(…,)` a struct, `<…>` a variant, and strings stand in quotation marks of either kind.
"""

from __future__ import annotations

from cloche.wire.dbus_values import Encoder, ProtocolError, Variant, types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WORDS = {
    "boolean": "b",
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "double": "d",
    "string": "s",
    "objectpath": "o",
    "signature": "g",
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a"}
_BLANKS = " \t\r\n"
_DEPTH_LIMIT = 32


def parse(text: str) -> Variant:
    """The value that a text means, with its type. Raises ValueError saying what is wrong, and where."""
    parser = _Parser(text)
    variant = parser.value("", 0)
    if parser.next():
        raise parser.wrong("the end")
    try:
        Encoder().put(variant.signature, variant.value)
    except (UnicodeEncodeError, ProtocolError) as error:
        raise ValueError(str(error)) from None
    return variant


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def next(self) -> str:
        """The next character that is not blank, which stays; empty at the end."""
        while self._text[self._position : self._position + 1] in {*_BLANKS}:
            self._position += 1
        return self._text[self._position : self._position + 1]

    def wrong(self, wanted: str) -> ValueError:
        rest = self._text[self._position : self._position + 20]
        found = repr(rest) if rest else "the end"
        return ValueError(f"{wanted} is expected where {found} stands")

    def _skip(self, character: str) -> bool:
        if self.next() != character:
            return False
        self._position += 1
        return True

    def _demand(self, character: str) -> None:
        if not self._skip(character):
            raise self.wrong(repr(character))

    def _word(self) -> str:
        self.next()
        start = self._position
        while self._text[self._position : self._position + 1] not in {"", *_BLANKS, *"[](){}<>,:'\""}:
            self._position += 1
        return self._text[start : self._position]

    def value(self, wanted: str, depth: int) -> Variant:
        """One value. wanted: its type where that is known, otherwise empty."""
        if depth > _DEPTH_LIMIT:
            raise ValueError("the value is nested too deeply")
        first = self.next()
        if first == "@":
            return self._annotated(wanted, depth)
        if first in ("'", '"'):
            return self._typed(wanted, "sog", "s", self._quoted())
        if first == "[":
            return self._array(wanted, depth)
        if first == "{":
            return self._dictionary(wanted, depth)
        if first == "(":
            return self._struct(wanted, depth)
        if first == "<":
            self._position += 1
            inner = self.value("", depth + 1)
            self._demand(">")
            return self._typed(wanted, "v", "v", inner)
        return self._plain(wanted, depth)

    def _typed(self, wanted: str, possible: str, default: str, value: Any) -> Variant:
        signature = wanted or default
        if signature not in possible:
            raise self.wrong(f"a value of the type {wanted!r} before the place")
        return Variant(signature, value)

    def _annotated(self, wanted: str, depth: int) -> Variant:
        self._position += 1
        start = self._position
        while self._text[self._position : self._position + 1] not in {"", *_BLANKS}:
            self._position += 1
        signature = self._text[start : self._position]
        if len(types(signature)) != 1 or wanted not in ("", signature):
            raise self.wrong(f"one type instead of {signature!r} before the place")
        return self.value(signature, depth + 1)

    def _plain(self, wanted: str, depth: int) -> Variant:
        """A word for a type and its value, a boolean, or a number."""
        word = self._word()
        if word in _WORDS:
            if wanted not in ("", _WORDS[word]):
                raise self.wrong(f"a value of the type {wanted!r}")
            return self.value(_WORDS[word], depth + 1)
        if word in ("true", "false"):
            return self._typed(wanted, "b", "b", word == "true")
        try:
            if wanted == "d" or (not wanted and "." in word):
                return Variant("d", float(word))
            return self._typed(wanted, "ynqiuxt", "i", int(word, 0))
        except ValueError:
            raise self.wrong(f"a value instead of {word!r} before the place") from None

    def _quoted(self) -> str:
        mark = self._text[self._position]
        self._position += 1
        found = ""
        while True:
            letter = self._text[self._position : self._position + 1]
            self._position += 1
            if not letter:
                raise self.wrong(mark)
            if letter == mark:
                return found
            if letter == "\\":
                letter = self._escaped()
            found += letter

    def _escaped(self) -> str:
        letter = self._text[self._position : self._position + 1]
        self._position += 1
        size = {"u": 4, "U": 8}.get(letter, 0)
        if not size:
            return _ESCAPES.get(letter, letter)
        digits = self._text[self._position : self._position + size]
        self._position += size
        try:
            return chr(int(digits, 16))
        except (ValueError, OverflowError):
            raise self.wrong("a character's number before the place") from None

    def _array(self, wanted: str, depth: int) -> Variant:
        self._position += 1
        if wanted and wanted[0] != "a":
            raise self.wrong(f"a value of the type {wanted!r}")
        item = wanted[1:]
        values: list[Any] = []
        while not self._skip("]"):
            if values:
                self._demand(",")
            variant = self.value(item, depth + 1)
            item = variant.signature
            values.append(variant.value)
        if not item:
            raise self.wrong("an array that says its type, as in @as [], before the place")
        return Variant(f"a{item}", bytes(values) if item == "y" else values)

    def _dictionary(self, wanted: str, depth: int) -> Variant:
        self._position += 1
        if wanted and wanted[:2] != "a{":
            raise self.wrong(f"a value of the type {wanted!r}")
        kinds = types(wanted[2:-1]) if wanted else ["", ""]
        values: dict[Any, Any] = {}
        while not self._skip("}"):
            if values:
                self._demand(",")
            key = self.value(kinds[0], depth + 1)
            self._demand(":")
            value = self.value(kinds[1], depth + 1)
            kinds = [key.signature, value.signature]
            if len(kinds[0]) > 1 or kinds[0] == "v":
                raise self.wrong("a plain key before the place")
            values[key.value] = value.value
        if not kinds[0]:
            raise self.wrong("a dictionary that says its type, as in @a{ss} {}, before the place")
        return Variant(f"a{{{''.join(kinds)}}}", values)

    def _struct(self, wanted: str, depth: int) -> Variant:
        self._position += 1
        if wanted and wanted[0] != "(":
            raise self.wrong(f"a value of the type {wanted!r}")
        kinds = types(wanted[1:-1])
        values: list[Any] = []
        found = []
        while not self._skip(")"):
            if values:
                self._demand(",")
                if self._skip(")"):
                    break
            variant = self.value(kinds[len(values)] if len(values) < len(kinds) else "", depth + 1)
            values.append(variant.value)
            found.append(variant.signature)
        if not values or (wanted and found != kinds):
            raise self.wrong(f"a struct of the type {wanted!r} before the place" if wanted else "a member")
        return Variant(f"({''.join(found)})", tuple(values))
