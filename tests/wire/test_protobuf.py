"""Our Protocol Buffers beside Google's: the same bytes from the same values, and the same refusals."""

from __future__ import annotations

import contextlib
import importlib
import math
import pkgutil
import struct
from typing import Any

import pytest
from google.protobuf.message import DecodeError as ReferenceError
from hypothesis import example, given
from hypothesis import strategies as st

import cloche.wire.messages
from cloche.wire import protobuf_values as values
from cloche.wire.messages.google import Any as PackedMessage
from cloche.wire.messages.google import Duration, Timestamp
from cloche.wire.protobuf import (
    DecodeError,
    Encoded,
    Field,
    Message,
    binary,
    boolean,
    double,
    enumeration,
    fixed32,
    fixed64,
    float32,
    int32,
    int64,
    mapping,
    message,
    repeated,
    sint32,
    sint64,
    string,
    uint32,
    uint64,
)
from tests.wire.reference import as_reference, message_classes, reference_of


class Leaf(Message, package="tests"):
    """What others hold."""

    name: str = string(1)
    number: int = sint64(2)


class Everything(Message, package="tests"):
    """A field of every kind."""

    a_double: float = double(1)
    a_float: float = float32(2)
    an_int32: int = int32(3)
    an_int64: int = int64(4)
    a_uint32: int = uint32(5)
    a_uint64: int = uint64(6)
    a_sint32: int = sint32(7)
    a_sint64: int = sint64(8)
    a_fixed32: int = fixed32(9)
    a_fixed64: int = fixed64(10)
    a_bool: bool = boolean(11)
    a_string: str = string(12)
    some_bytes: bytes = binary(13)
    an_enum: int = enumeration(14)
    a_message: Leaf | None = message(15, Leaf)
    itself: Any = message(16)
    maybe: int | None = uint32(17, optional=True)
    maybe_text: str | None = string(18, optional=True)
    numbers: Any = repeated(100, values.SINT32)
    doubles: Any = repeated(101, values.DOUBLE)
    words: Any = repeated(102, values.STRING)
    leaves: Any = repeated(103, Leaf)
    by_name: Any = mapping(200, values.STRING, values.INT64)
    by_number: Any = mapping(201, values.UINT32, Leaf)
    far_away: int = int32(536870911)


REFERENCE = reference_of(Everything)

INTEGERS = {
    "int32": (-(1 << 31), (1 << 31) - 1),
    "sint32": (-(1 << 31), (1 << 31) - 1),
    "enum": (-(1 << 31), (1 << 31) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
    "sint64": (-(1 << 63), (1 << 63) - 1),
    "uint32": (0, (1 << 32) - 1),
    "fixed32": (0, (1 << 32) - 1),
    "uint64": (0, (1 << 64) - 1),
    "fixed64": (0, (1 << 64) - 1),
}


def one_value(kind: values.Kind, inner: type[Message], depth: int) -> st.SearchStrategy[Any]:
    if kind.name in INTEGERS:
        low, high = INTEGERS[kind.name]
        return st.integers(low, high)
    if kind is values.MESSAGE:
        return messages_of(inner, depth - 1)
    return {
        "double": st.floats(allow_nan=False),
        "float": st.floats(allow_nan=False, width=32),
        "bool": st.booleans(),
        "string": st.text(st.characters(codec="utf-8"), max_size=20),
        "bytes": st.binary(max_size=20),
    }[kind.name]


def field_value(field: Field, depth: int) -> st.SearchStrategy[Any]:
    one = one_value(field.kind, field.message, depth)
    if field.key is not None:
        return st.dictionaries(one_value(field.key, field.message, depth), one, max_size=3)
    return st.lists(one, max_size=3) if field.repeated else one


def messages_of(kind: type[Message], depth: int = 3) -> st.SearchStrategy[Message]:
    """Messages with some of their fields set."""
    fields = [field for field in kind.FIELDS if depth > 0 or field.kind is not values.MESSAGE]
    chosen = {field.name: field_value(field, depth) for field in fields}
    return st.fixed_dictionaries({}, optional=chosen).map(lambda set_fields: kind(**set_fields))


@given(messages_of(Everything))
def test_google_reads_what_we_write(ours: Message) -> None:
    assert REFERENCE.FromString(ours.encode()) == as_reference(ours, REFERENCE)


@given(messages_of(Everything))
def test_we_read_what_google_writes(ours: Message) -> None:
    data = as_reference(ours, REFERENCE).SerializeToString()
    assert as_reference(Everything.decode(data), REFERENCE).SerializeToString(deterministic=True) == (
        as_reference(ours, REFERENCE).SerializeToString(deterministic=True)
    )


@given(messages_of(Everything))
def test_what_was_read_is_what_was_written(ours: Message) -> None:
    assert Everything.decode(ours.encode()).encode() == ours.encode()


def mutations(data: bytes) -> st.SearchStrategy[bytes]:
    """The same bytes with some replaced, or cut off."""
    places = st.lists(st.tuples(st.integers(0, max(0, len(data) - 1)), st.integers(0, 255)), max_size=4)

    def change(where: list[tuple[int, int]], length: int) -> bytes:
        changed = bytearray(data)
        for place, byte in where:
            changed[place : place + 1] = bytes([byte])
        return bytes(changed[:length])

    return st.builds(change, places, st.integers(0, len(data) + 1))


BROKEN = st.binary(max_size=60) | messages_of(Everything).flatmap(lambda ours: mutations(ours.encode()))


@example(b"\x80\x80\x80\x80\x81\x00\x00")  # a tag of six bytes
@given(BROKEN)
def test_bytes_that_are_no_message_are_refused_as_google_refuses_them(data: bytes) -> None:
    try:
        theirs = REFERENCE.FromString(data)
    except ReferenceError:
        with pytest.raises(DecodeError):
            Everything.decode(data)
        return
    ours = Everything.decode(data)
    theirs.DiscardUnknownFields()
    again = REFERENCE.FromString(ours.encode())
    # NaN is not even itself.
    assert again.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)


@given(st.binary(max_size=200))
def test_decoding_noise_raises_nothing_but_its_own_error(data: bytes) -> None:
    for kind in (Everything, Leaf, Timestamp, PackedMessage):
        with contextlib.suppress(DecodeError):
            kind.decode(data)


def all_messages() -> list[type[Message]]:
    modules = pkgutil.iter_modules(cloche.wire.messages.__path__, "cloche.wire.messages.")
    return sorted(
        set(message_classes(*(importlib.import_module(module.name) for module in modules))),
        key=lambda kind: kind.FULL_NAME,
    )


@pytest.mark.parametrize("kind", all_messages(), ids=lambda kind: kind.FULL_NAME)
def test_every_table_is_one_that_google_accepts(kind: type[Message]) -> None:
    """Numbers used twice, reserved numbers and unknown kinds are found by declaring it there."""
    assert reference_of(kind)().SerializeToString() == kind().encode() == b""


def nested(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        length = bytearray()
        values.write_varint(length, len(data))
        data = b"\x82\x01" + length + data
    return data


def test_messages_may_be_nested_as_deep_as_google_allows_and_no_deeper() -> None:
    for depth in (1, 99, 100, 101, 5000):
        data = nested(depth)
        try:
            REFERENCE.FromString(data)
        except ReferenceError:
            with pytest.raises(DecodeError, match="nested deeper"):
                Everything.decode(data)
        else:
            Everything.decode(data)


def test_a_length_beyond_the_message_is_refused_before_anything_is_reserved() -> None:
    with pytest.raises(DecodeError, match="ends inside a field"):
        Leaf.decode(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f")


def test_an_absent_field_reads_as_its_zero_and_is_not_there() -> None:
    empty = Everything.decode(b"")
    assert (empty.a_string, empty.an_int64, empty.a_message, empty.maybe) == ("", 0, None, None)
    assert not empty.has("a_string")
    assert list(empty.words) == []
    assert dict(empty.by_name) == {}


def test_what_is_no_field_cannot_be_set_at_the_start() -> None:
    with pytest.raises(TypeError, match="has no field colour"):
        Leaf(colour="red")


def test_packed_and_unpacked_numbers_read_the_same() -> None:
    unpacked = b"".join(b"\xa0\x06" + bytes([number]) for number in (2, 4, 6))
    assert Everything.decode(unpacked).numbers == [1, 2, 3]
    assert Everything.decode(Everything(numbers=[1, 2, 3]).encode()).numbers == [1, 2, 3]


def test_what_is_encoded_once_stands_where_its_message_would() -> None:
    leaf = Leaf(name="x" * 200, number=-3)
    kept = Encoded(leaf)
    leaf.name = "changed since"
    holder = Everything(a_message=kept, leaves=[kept, Encoded(Leaf()), leaf])
    found = Everything.decode(holder.encode())
    assert found.a_message == Leaf(name="x" * 200, number=-3)
    assert found.leaves == [found.a_message, Leaf(), leaf]


def test_a_timestamp_before_1970_has_nanoseconds_after_its_second() -> None:
    moment = Timestamp.of(-1)
    assert (moment.seconds, moment.nanos) == (-1, 999_999_999)
    assert Timestamp.decode(moment.encode()).ns() == -1
    assert Duration(seconds=1, nanos=5).ns() == 1_000_000_005


def test_a_float_keeps_what_four_bytes_can_hold() -> None:
    kept = Everything.decode(Everything(a_float=0.1).encode()).a_float
    assert kept == struct.unpack("<f", struct.pack("<f", 0.1))[0]
    assert math.isnan(Everything.decode(Everything(a_double=math.nan).encode()).a_double)
