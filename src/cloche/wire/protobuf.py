"""Protocol Buffers messages as tables: a class whose attributes name its fields and their numbers.

    class KillRequest(Message, package="containerd.task.v2"):
        id: str = string(1)
        signal: int = uint32(3)

    data = KillRequest(id="web", signal=15).encode()
    KillRequest.decode(data).signal

An own codec since a shim lives as long as its container: the runtime library of protobuf costs
several times the memory that a shim may have, and more time to import than a container to start.

What proto3 says holds: absent scalars read as zero and zeros are not written; an absent message
reads as None; unknown fields are skipped; a repeated scalar is read packed and unpacked, written
packed. Absent repeated fields and maps read as an empty tuple and an empty read-only mapping, so
change a message by giving it a new value, not by appending to what was read.
"""

from __future__ import annotations

from cloche.wire import protobuf_values as values
from cloche.wire.protobuf_values import (
    LENGTH,
    MESSAGE,
    DecodeError,
    Kind,
    read_tag,
    read_varint,
    skip,
    tag_of,
    write_varint,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, ClassVar, Self, TypeVar

    _M = TypeVar("_M", bound="Message")

__all__ = ["DecodeError", "Encoded", "Field", "Message"]

DEPTH_LIMIT = 100
_EMPTY_MAP: Mapping[Any, Any] = type(vars(object))({})  # types.MappingProxyType, without importing types


class Field:
    """One row of a message's table.

    kind: how one value is written; message: the class where that is MESSAGE. key: the kind of a
    map's keys; None where it is no map. optional: an absent scalar reads as None (proto3's
    `optional`, and members of a oneof).
    """

    __slots__ = ("key", "kind", "message", "name", "number", "optional", "repeated", "tag")

    def __init__(
        self,
        number: int,
        kind: Kind,
        *,
        message: type[Message] | None = None,
        repeated: bool = False,
        optional: bool = False,
        key: Kind | None = None,
    ) -> None:
        self.name = ""
        self.number = number
        self.kind = kind
        self.message: type[Message] = message or Message
        self.repeated = repeated
        self.optional = optional
        self.key = key
        # Map entries and packed numbers are bytes behind their length, as messages are.
        wire = LENGTH if repeated or key is not None else kind.wire
        self.tag = bytes((number << 3 | wire,)) if number < 16 else tag_of(number, wire)

    @property
    def default(self) -> object:
        """What reading the field gives where the message does not have it."""
        if self.key is not None:
            return _EMPTY_MAP
        if self.repeated:
            return ()
        return None if self.optional else self.kind.zero


class Message:
    """Base of all messages. FULL_NAME: the name in the protocol; FIELDS: the table."""

    FULL_NAME: ClassVar[str] = ""
    FIELDS: ClassVar[tuple[Field, ...]] = ()
    _by_number: ClassVar[dict[int, Field]] = {}
    _names: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, *, package: str = "", name: str = "") -> None:
        """package: the protocol's; name: the message's own name where it is not the class's."""
        fields = [(key, value) for key, value in vars(cls).items() if isinstance(value, Field)]
        for key, field in fields:
            field.name = key
            if field.message is Message:
                field.message = cls  # which only a message of its own kind leaves open
            setattr(cls, key, field.default)
        cls.FULL_NAME = f"{package}.{name or cls.__name__}"
        cls.FIELDS = tuple(field for _, field in fields)
        cls._names = frozenset(field.name for field in cls.FIELDS)
        cls._by_number = {field.number: field for field in cls.FIELDS}

    def __init__(self, **fields: Any) -> None:
        """Raises TypeError for a name that is no field."""
        for name in fields:
            if name not in self._names:
                raise TypeError(f"{type(self).__name__} has no field {name}")
        self.__dict__.update(fields)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in self.FIELDS)

    __hash__ = None  # type: ignore[assignment]  # messages can be changed

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({inner})"

    def has(self, name: str) -> bool:
        """Whether the message was given that field, or had it when it was decoded."""
        return name in self.__dict__

    def encode(self) -> bytes:
        """The message's bytes, fields in the order of the table; map entries in their own order."""
        out = bytearray()
        self._encode_into(out)
        return bytes(out)

    def _encode_into(self, out: bytearray) -> None:
        state = self.__dict__
        for field in self.FIELDS:
            value = state.get(field.name)
            if value is None:
                continue
            if field.key is not None:
                for key, entry in value.items():
                    _write_entry(out, field, field.key, key, entry)
            elif field.repeated:
                if value:
                    _write_repeated(out, field, value)
            elif field.kind is MESSAGE:
                _write_bytes(out, field.tag, value.encode())
            elif value or field.optional or (type(value) is float and str(value) == "-0.0"):
                out += field.tag
                field.kind.write(out, value)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message. Raises DecodeError for anything that is none."""
        message = cls()
        message._merge(data, 0, len(data), 0)
        return message

    def _merge(self, data: bytes, position: int, end: int, depth: int) -> None:
        """Read fields into this message; a message that comes twice is merged, as protobuf says."""
        if depth > DEPTH_LIMIT:
            raise DecodeError(f"messages nested deeper than {DEPTH_LIMIT}")
        by_number = self._by_number
        while position < end:
            tag, position = read_tag(data, position, end)
            field = by_number.get(tag >> 3)
            if field is None:
                position = skip(data, position, end, tag)
            elif field.kind is MESSAGE or field.key is not None:
                position = self._merge_message(field, tag, data, position, end, depth)
            else:
                position = self._merge_value(field, tag, data, position, end)

    def _merge_value(self, field: Field, tag: int, data: bytes, position: int, end: int) -> int:
        kind, wire = field.kind, tag & 7
        if wire == kind.wire:
            value, position = kind.read(data, position, end)
            if field.repeated:
                self.__dict__.setdefault(field.name, []).append(value)
            else:
                self.__dict__[field.name] = value
            return position
        if not field.repeated or wire != LENGTH:
            return skip(data, position, end, tag)
        stop, position = _stop(data, position, end)
        packed = self.__dict__.setdefault(field.name, [])
        while position < stop:
            value, position = kind.read(data, position, stop)
            packed.append(value)
        return position

    def _merge_message(self, field: Field, tag: int, data: bytes, position: int, end: int, depth: int) -> int:
        if tag & 7 != LENGTH:
            return skip(data, position, end, tag)
        stop, position = _stop(data, position, end)
        state = self.__dict__
        if field.key is not None:
            key, value = _read_entry(field, field.key, data, position, stop, depth)
            state.setdefault(field.name, {})[key] = value
            return stop
        inner = None if field.repeated else state.get(field.name)
        if inner is None:
            inner = field.message()
            if field.repeated:
                state.setdefault(field.name, []).append(inner)
            else:
                state[field.name] = inner
        inner._merge(data, position, stop, depth + 1)
        return stop


class Encoded(Message):
    """A message that is sent again and again as it is: encoded once, and a field's value like any other."""

    def __init__(self, message: Message) -> None:
        self._bytes = message.encode()

    def encode(self) -> bytes:
        """The bytes that it was made of."""
        return self._bytes


def _same(one: object, other: object) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return list(one) == list(other)
    return one == other


def _stop(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Where the bytes that begin with their length end, and where they begin."""
    length, position = read_varint(data, position, end)
    if length > end - position:
        raise DecodeError("the message ends inside a field")
    return position + length, position


def _write_bytes(out: bytearray, tag: bytes, data: bytes | bytearray) -> None:
    out += tag
    write_varint(out, len(data))
    out += data


def _write_repeated(out: bytearray, field: Field, items: Sequence[Any]) -> None:
    kind = field.kind
    if kind is MESSAGE:
        for item in items:
            _write_bytes(out, field.tag, item.encode())
    elif kind.wire == LENGTH:
        for item in items:
            out += field.tag
            kind.write(out, item)
    else:
        packed = bytearray()
        for item in items:
            kind.write(packed, item)
        _write_bytes(out, field.tag, packed)


def _write_entry(out: bytearray, field: Field, key_kind: Kind, key: Any, value: Any) -> None:
    """A map's entry: a message with the key as field 1 and the value as field 2."""
    body = bytearray((1 << 3 | key_kind.wire,))
    key_kind.write(body, key)
    if field.kind is MESSAGE:
        value = value.encode()
    body.append(2 << 3 | field.kind.wire)
    field.kind.write(body, value)
    _write_bytes(out, field.tag, body)


def _read_entry(
    field: Field, key_kind: Kind, data: bytes, position: int, end: int, depth: int
) -> tuple[Any, Any]:
    key: Any = key_kind.zero
    value: Any = field.message() if field.kind is MESSAGE else field.kind.zero
    while position < end:
        tag, position = read_tag(data, position, end)
        if tag == (1 << 3 | key_kind.wire):
            key, position = key_kind.read(data, position, end)
        elif tag != (2 << 3 | field.kind.wire):
            position = skip(data, position, end, tag)
        elif field.kind is MESSAGE:
            stop, position = _stop(data, position, end)
            value._merge(data, position, stop, depth + 1)
            position = stop
        else:
            value, position = field.kind.read(data, position, end)
    return key, value


def _scalar(kind: Kind) -> Callable[..., Any]:
    def declare(number: int, *, optional: bool = False) -> Any:
        return Field(number, kind, optional=optional)

    return declare


# What a message's attributes are declared with. The annotation beside each tells the type checker.
double = _scalar(values.DOUBLE)
float32 = _scalar(values.FLOAT)
int32 = _scalar(values.INT32)
int64 = _scalar(values.INT64)
uint32 = _scalar(values.UINT32)
uint64 = _scalar(values.UINT64)
sint32 = _scalar(values.SINT32)
sint64 = _scalar(values.SINT64)
fixed32 = _scalar(values.FIXED32)
fixed64 = _scalar(values.FIXED64)
boolean = _scalar(values.BOOL)
string = _scalar(values.STRING)
binary = _scalar(values.BYTES)
enumeration = _scalar(values.ENUM)


def message(number: int, kind: type[Message] = Message) -> Any:
    """A message inside the message; without a kind, of the same class as the one it is in."""
    return Field(number, MESSAGE, message=kind)


def repeated(number: int, kind: type[Message] | Kind = Message) -> Any:
    """Any number of values or messages; a list when decoded."""
    if isinstance(kind, Kind):
        return Field(number, kind, repeated=True)
    return Field(number, MESSAGE, message=kind, repeated=True)


def mapping(number: int, key: Kind, value: type[Message] | Kind) -> Any:
    """A map; a dict when decoded."""
    if isinstance(value, Kind):
        return Field(number, value, key=key)
    return Field(number, MESSAGE, message=value, key=key)
