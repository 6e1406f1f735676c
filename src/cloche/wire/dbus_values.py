"""Values of D-Bus: type signatures, and how values are laid out in a message.

Every value is aligned to its type's size, counted from the start of the message; numbers are in the
byte order that the message names. In Python a string, path or signature is `str`, `ay` is `bytes`,
other arrays are lists, `a{…}` is a dictionary, a struct is a tuple, and `v` a `Variant`.
"""

from __future__ import annotations

from _struct import Struct

from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

ARRAY_LIMIT = 1 << 26
_DEPTH_LIMIT = 32
_SIGNATURE_LIMIT = 255

_SIZES = {"y": 1, "n": 2, "q": 2, "i": 4, "u": 4, "x": 8, "t": 8, "b": 4, "h": 4}
_SIGNED = "nix"
_DOUBLES = {"little": Struct("<d"), "big": Struct(">d")}
_ALIGNMENTS = {"y": 1, "g": 1, "v": 1, "n": 2, "q": 2, "x": 8, "t": 8, "d": 8, "(": 8, "{": 8}
_STRINGS = "so"
_BASIC = "ybnqiuxtdhsog"


class ProtocolError(ValueError):
    """What the peer sent is not D-Bus: nothing that follows on the connection can be understood."""


class Variant(Record):
    """A value that says itself of what type it is. signature: one complete type."""

    signature: str
    value: Any


def types(signature: str) -> list[str]:
    """The complete types that a signature consists of, one after another.

    Raises ProtocolError for what is no signature.
    """
    if len(signature) > _SIGNATURE_LIMIT:
        raise ProtocolError(f"a signature of {len(signature)} characters")
    found = []
    position = 0
    while position < len(signature):
        end = _end(signature, position, 0)
        found.append(signature[position:end])
        position = end
    return found


def _end(signature: str, start: int, depth: int) -> int:
    """Where the complete type that begins at `start` ends."""
    code = signature[start : start + 1]
    if depth > _DEPTH_LIMIT:
        raise ProtocolError(f"the signature {signature!r} is nested too deeply")
    if code and code in _BASIC + "v":
        return start + 1
    if code == "a" and signature[start + 1 : start + 2] == "{":
        if signature[start + 2 : start + 3] in ("", *"va({"):
            raise ProtocolError(f"the signature {signature!r} has a dictionary without plain keys")
        end = _end(signature, start + 3, depth + 1)
        if signature[end : end + 1] == "}":
            return end + 1
    elif code == "a":
        return _end(signature, start + 1, depth + 1)
    elif code == "(" and signature[start + 1 : start + 2] not in ("", ")"):
        end = start + 1
        while signature[end : end + 1] != ")":
            end = _end(signature, end, depth + 1)
        return end + 1
    raise ProtocolError(f"{signature!r} is not a signature")


def _alignment(kind: str) -> int:
    return _ALIGNMENTS.get(kind[0], 4)


class Encoder:
    """Lays values out, little endian, from the start of a message or of its body."""

    def __init__(self) -> None:
        self.data = bytearray()

    def align(self, size: int) -> None:
        """Fill up to a multiple of `size` bytes."""
        self.data += bytes(-len(self.data) % size)

    def put(self, signature: str, *values: Any) -> Encoder:
        """Add one value for each complete type. Raises ValueError for one that does not fit its type."""
        for kind, value in zip(types(signature), values, strict=True):
            self._put(kind, value)
        return self

    def _put(self, kind: str, value: Any) -> None:
        code = kind[0]
        self.align(_alignment(kind))
        if code in _SIZES:
            try:
                self.data += int(value).to_bytes(_SIZES[code], "little", signed=code in _SIGNED)
            except OverflowError:
                raise ValueError(f"{value!r} is not of the D-Bus type {kind!r}") from None
        elif code == "d":
            self.data += _DOUBLES["little"].pack(value)
        elif code in _STRINGS:
            text = value.encode()
            self.data += len(text).to_bytes(4, "little") + text + b"\0"
        elif code == "g":
            self.data += bytes([len(value)]) + value.encode() + b"\0"
        elif code == "v":
            self._put("g", value.signature)
            self.put(value.signature, value.value)
        elif code == "a":
            self._put_array(kind[1:], value)
        else:
            self.put(kind[1:-1], *value)

    def _put_array(self, item: str, value: Any) -> None:
        place = len(self.data)
        self.data += bytes(4)
        self.align(_alignment(item))
        start = len(self.data)
        if item == "y":
            self.data += value
        else:
            for one in value.items() if item[0] == "{" else value:
                self._put(item, one)
        self.data[place : place + 4] = (len(self.data) - start).to_bytes(4, "little")


class Decoder:
    """Reads values out of a message or its body. order: `little` or `big`."""

    def __init__(self, data: bytes, order: Literal["little", "big"] = "little") -> None:
        self._data = data
        self._order = order
        self._position = 0

    def take(self, signature: str) -> list[Any]:
        """One value for each complete type. Raises ProtocolError for what is not laid out so."""
        return [self._take(kind, 0) for kind in types(signature)]

    def end(self) -> None:
        """Raises ProtocolError when something is left."""
        if self._position != len(self._data):
            raise ProtocolError(f"{len(self._data) - self._position} bytes more than the signature tells of")

    def align(self, size: int) -> None:
        """Skip to a multiple of `size` bytes, which must be zeros in between."""
        padding = self._bytes(-self._position % size)
        if any(padding):
            raise ProtocolError("the padding is not zero")

    def _bytes(self, count: int) -> bytes:
        part = self._data[self._position : self._position + count]
        if len(part) != count:
            raise ProtocolError("the message ends in the middle of a value")
        self._position += count
        return part

    def _take(self, kind: str, depth: int) -> Any:
        if depth > 2 * _DEPTH_LIMIT:
            raise ProtocolError("values are nested too deeply")
        code = kind[0]
        self.align(_alignment(kind))
        if code in _SIZES:
            return self._number(code)
        if code == "d":
            return _DOUBLES[self._order].unpack(self._bytes(8))[0]
        if code in _STRINGS:
            return self._text(self._number("u"))
        if code == "g":
            return self._text(self._number("y"))
        if code == "v":
            signature = self._text(self._number("y"))
            if len(types(signature)) != 1:
                raise ProtocolError(f"a variant of the signature {signature!r}")
            return Variant(signature, self._take(signature, depth + 1))
        if code == "a":
            return self._take_array(kind[1:], depth + 1)
        return tuple(self._take(part, depth + 1) for part in types(kind[1:-1]))

    def _number(self, code: str) -> Any:
        value = int.from_bytes(self._bytes(_SIZES[code]), self._order, signed=code in _SIGNED)
        if code == "b":
            if value > 1:
                raise ProtocolError(f"a boolean of {value}")
            return bool(value)
        return value

    def _text(self, size: int) -> str:
        data = self._bytes(size + 1)
        try:
            text = data[:-1].decode()
        except UnicodeDecodeError:
            raise ProtocolError("a string that is not UTF-8") from None
        if data[-1] or "\0" in text:
            raise ProtocolError("a string that does not end where it says")
        return text

    def _take_array(self, item: str, depth: int) -> Any:
        size = self._number("u")
        if size > ARRAY_LIMIT:
            raise ProtocolError(f"an array of {size} bytes")
        self.align(_alignment(item))
        if item == "y":
            return self._bytes(size)
        end = self._position + size
        found = []
        while self._position < end:
            found.append(self._take(item, depth))
        if self._position != end:
            raise ProtocolError("an array that does not end where it says")
        return dict(found) if item[0] == "{" else found
