"""How Protocol Buffers write one value: varints, fixed widths, and bytes behind their length."""

from __future__ import annotations

from _struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

VARINT, FIXED_64, LENGTH, GROUP, END_GROUP, FIXED_32 = 0, 1, 2, 3, 4, 5

_MASK_64 = (1 << 64) - 1
_GROUP_DEPTH_LIMIT = 100
_TAG_BYTES = 5


class DecodeError(ValueError):
    """Bytes that are no message: one line that says why."""


def read_varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """A number of up to 64 bits and the position behind it. Raises DecodeError."""
    if position < end and (byte := data[position]) < 0x80:
        return byte, position + 1
    number = shift = 0
    while position < end:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & _MASK_64, position
        shift += 7
        if shift > 63:
            raise DecodeError("a number longer than ten bytes")
    raise DecodeError("the message ends inside a number")


def read_tag(data: bytes, position: int, end: int) -> tuple[int, int]:
    """A field's number and wire type in one: at most 32 bits in at most five bytes. Raises DecodeError."""
    if position < end and (byte := data[position]) < 0x80:
        return byte, position + 1
    tag, behind = read_varint(data, position, end)
    if behind - position > _TAG_BYTES or tag >= 1 << 32:
        raise DecodeError("a field number longer than five bytes")
    return tag, behind


def write_varint(out: bytearray, number: int) -> None:
    """Append a number; a negative one as its 64-bit two's complement."""
    if 0 <= number <= 0x7F:
        out.append(number)
        return
    number &= _MASK_64
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def tag_of(number: int, wire: int) -> bytes:
    """A field's number and wire type as they are written."""
    tag = bytearray()
    write_varint(tag, number << 3 | wire)
    return bytes(tag)


def skip(data: bytes, position: int, end: int, tag: int) -> int:
    """The position behind a field that nobody knows. Raises DecodeError."""
    return _skip(data, position, end, tag, 0)


def _skip(data: bytes, position: int, end: int, tag: int, depth: int) -> int:
    wire = tag & 7
    if tag >> 3 == 0:
        raise DecodeError("field number 0")
    if wire == VARINT:
        return read_varint(data, position, end)[1]
    if wire == GROUP:
        return _skip_group(data, position, end, tag, depth + 1)
    if wire == LENGTH:
        length, position = read_varint(data, position, end)
    elif wire in (FIXED_64, FIXED_32):
        length = 8 if wire == FIXED_64 else 4
    else:
        raise DecodeError(f"wire type {wire}")
    if length > end - position:
        raise DecodeError("the message ends inside a field")
    return position + length


def _skip_group(data: bytes, position: int, end: int, tag: int, depth: int) -> int:
    if depth > _GROUP_DEPTH_LIMIT:
        raise DecodeError(f"groups nested deeper than {_GROUP_DEPTH_LIMIT}")
    while True:
        inner, position = read_tag(data, position, end)
        if inner == (tag & ~7) | END_GROUP:
            return position
        position = _skip(data, position, end, inner, depth)


class Kind:
    """One of the scalar types.

    name: as in .proto files; number: as in descriptor.proto; wire: the wire type; zero: what
    absence means; read(data, position, end) gives the value and the position behind it;
    write(out, value) appends it.
    """

    __slots__ = ("name", "number", "read", "wire", "write", "zero")

    def __init__(
        self,
        name: str,
        number: int,
        wire: int,
        zero: object,
        read: Callable[[bytes, int, int], tuple[Any, int]],
        write: Callable[[bytearray, Any], None],
    ) -> None:
        self.name = name
        self.number = number
        self.wire = wire
        self.zero = zero
        self.read = read
        self.write = write


def _signed(bits: int) -> Callable[[bytes, int, int], tuple[int, int]]:
    mask, half = (1 << bits) - 1, 1 << (bits - 1)

    def read(data: bytes, position: int, end: int) -> tuple[int, int]:
        number, position = read_varint(data, position, end)
        number &= mask
        return number - (mask + 1) if number & half else number, position

    return read


def _read_uint32(data: bytes, position: int, end: int) -> tuple[int, int]:
    number, position = read_varint(data, position, end)
    return number & 0xFFFFFFFF, position


def _read_bool(data: bytes, position: int, end: int) -> tuple[bool, int]:
    number, position = read_varint(data, position, end)
    return number != 0, position


def _zigzag(bits: int) -> Callable[[bytes, int, int], tuple[int, int]]:
    mask = (1 << bits) - 1

    def read(data: bytes, position: int, end: int) -> tuple[int, int]:
        number, position = read_varint(data, position, end)
        number &= mask
        return (number >> 1) ^ -(number & 1), position

    return read


def _write_zigzag(out: bytearray, value: int) -> None:
    write_varint(out, (value << 1) ^ (value >> 63))


def _read_bytes(data: bytes, position: int, end: int) -> tuple[bytes, int]:
    length, position = read_varint(data, position, end)
    stop = position + length
    if stop > end:
        raise DecodeError("the message ends inside a field")
    return data[position:stop], stop


def _read_string(data: bytes, position: int, end: int) -> tuple[str, int]:
    raw, position = _read_bytes(data, position, end)
    try:
        return raw.decode(), position
    except UnicodeDecodeError:
        raise DecodeError("text that is not UTF-8") from None


def _write_bytes(out: bytearray, value: bytes) -> None:
    write_varint(out, len(value))
    out += value


def _write_string(out: bytearray, value: str) -> None:
    # A process's words may hold bytes that are no text; Go's clients refuse those, so they are marked.
    _write_bytes(out, value.encode(errors="replace"))


def _fixed(name: str, number: int, form: str, zero: object) -> Kind:
    layout = Struct(form)
    size = layout.size

    def read(data: bytes, position: int, end: int) -> tuple[Any, int]:
        if size > end - position:
            raise DecodeError("the message ends inside a field")
        return layout.unpack_from(data, position)[0], position + size

    def write(out: bytearray, value: Any) -> None:
        out += layout.pack(value)

    return Kind(name, number, FIXED_64 if size == 8 else FIXED_32, zero, read, write)


DOUBLE = _fixed("double", 1, "<d", 0.0)
FLOAT = _fixed("float", 2, "<f", 0.0)
INT64 = Kind("int64", 3, VARINT, 0, _signed(64), write_varint)
UINT64 = Kind("uint64", 4, VARINT, 0, read_varint, write_varint)
INT32 = Kind("int32", 5, VARINT, 0, _signed(32), write_varint)
FIXED64 = _fixed("fixed64", 6, "<Q", 0)
FIXED32 = _fixed("fixed32", 7, "<I", 0)
BOOL = Kind("bool", 8, VARINT, False, _read_bool, write_varint)
STRING = Kind("string", 9, LENGTH, "", _read_string, _write_string)
MESSAGE = Kind("message", 11, LENGTH, None, _read_bytes, _write_bytes)
BYTES = Kind("bytes", 12, LENGTH, b"", _read_bytes, _write_bytes)
UINT32 = Kind("uint32", 13, VARINT, 0, _read_uint32, write_varint)
ENUM = Kind("enum", 14, VARINT, 0, _signed(32), write_varint)
SINT32 = Kind("sint32", 17, VARINT, 0, _zigzag(32), _write_zigzag)
SINT64 = Kind("sint64", 18, VARINT, 0, _zigzag(64), _write_zigzag)
