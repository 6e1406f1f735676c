"""D-Bus: values and messages survive the way over the wire, and nonsense is refused rather than believed."""

from __future__ import annotations

import os
import subprocess
from _socket import AF_UNIX, SOCK_STREAM, socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.wire.dbus import CALL, GREETING, Message, Reader, decode
from cloche.wire.dbus_values import Decoder, Encoder, ProtocolError, Variant, types
from tests.peers import peer
from tests.waiting import wait_until

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
NUMBERS = {
    "y": (0, 255),
    "n": (-(1 << 15), (1 << 15) - 1),
    "q": (0, (1 << 16) - 1),
    "i": (-(1 << 31), (1 << 31) - 1),
    "u": (0, (1 << 32) - 1),
    "x": (-(1 << 63), (1 << 63) - 1),
    "t": (0, (1 << 64) - 1),
}
BASIC = [
    *(st.tuples(st.just(kind), st.integers(*limits)) for kind, limits in NUMBERS.items()),
    st.tuples(st.just("b"), st.booleans()),
    st.tuples(st.just("d"), st.floats(allow_nan=False)),
    st.tuples(st.just("s"), TEXTS),
    st.tuples(st.just("ay"), st.binary(max_size=20)),
]


def _arrays(inner: st.SearchStrategy[tuple[str, Any]]) -> st.SearchStrategy[tuple[str, Any]]:
    struct = st.lists(inner, min_size=1, max_size=3).map(
        lambda parts: (f"({''.join(kind for kind, _ in parts)})", tuple(value for _, value in parts))
    )
    variant = inner.map(lambda pair: ("v", Variant(*pair)))
    array = inner.filter(lambda pair: pair[0] != "y").map(lambda pair: (f"a{pair[0]}", [pair[1]] * 2))
    return struct | variant | array


VALUES = st.recursive(st.one_of(BASIC), _arrays, max_leaves=6)


@given(st.lists(VALUES, max_size=4))
def test_values_are_read_as_they_were_written(pairs: list[tuple[str, Any]]) -> None:
    signature = "".join(kind for kind, _ in pairs)
    assert "".join(types(signature)) == signature
    message = Message(kind=CALL, serial=7, member="Do", signature=signature, body=tuple(v for _, v in pairs))
    assert decode(message.encode()) == message


@given(st.lists(VALUES, max_size=3), st.lists(st.integers(1, 40), max_size=30))
def test_messages_are_found_however_the_bytes_are_cut(pairs: list[tuple[str, Any]], cuts: list[int]) -> None:
    messages = [
        Message(kind=CALL, serial=serial, member="Do", signature=kind, body=(value,))
        for serial, (kind, value) in enumerate(pairs, 1)
    ]
    data = b"DATA\r\nOK 1234\r\n" + b"".join(message.encode() for message in messages)
    reader = Reader()
    found: list[Message] = []
    for cut in (*cuts, len(data)):
        found += reader.feed(data[:cut])
        data = data[cut:]
    assert found == messages


@given(st.binary(max_size=200))
def test_nonsense_is_refused(data: bytes) -> None:
    reader = Reader()
    try:
        list(reader.feed(b"OK\r\n" + data))
    except ProtocolError:
        return


@given(st.data(), VALUES)
def test_a_damaged_message_is_refused_or_read_but_never_fails_otherwise(
    data: st.DataObject, pair: tuple[str, Any]
) -> None:
    message = Message(kind=CALL, serial=7, path="/a", member="Do", signature=pair[0], body=(pair[1],))
    encoded = bytearray(message.encode())
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(encoded))
    except ProtocolError:
        return


@given(st.text("abynqiuxtdhsogv(){}z", max_size=12))
def test_a_signature_is_one_or_is_refused(text: str) -> None:
    try:
        found = types(text)
    except ProtocolError:
        return
    assert "".join(found) == text


@pytest.mark.parametrize(
    "signature", ["a", "(", "()", "a{s}", "a{vs}", "{ss}", "a{sss}", "z", "a" * 40 + "y"]
)
def test_what_is_no_signature_is_refused(signature: str) -> None:
    with pytest.raises(ProtocolError):
        types(signature)


def test_a_message_in_the_other_byte_order_is_understood() -> None:
    body = (5).to_bytes(4, "big")
    fields = b"\x08\x01g\0\x01u\0"
    head = b"B\x04\x00\x01" + b"".join(n.to_bytes(4, "big") for n in (len(body), 9, len(fields)))
    data = head + fields
    message = decode(data + bytes(-len(data) % 8) + body)
    assert (message.kind, message.serial, message.body) == (4, 9, (5,))


def test_a_number_that_does_not_fit_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ValueError, match="not of the D-Bus type 'q'"):
        Encoder().put("q", 70000)


def test_a_boolean_is_one_of_two() -> None:
    with pytest.raises(ProtocolError, match="boolean"):
        Decoder((2).to_bytes(4, "little")).take("b")


def test_a_server_that_refuses_is_quoted() -> None:
    with pytest.raises(ProtocolError, match="REJECTED EXTERNAL"):
        list(Reader().feed(b"REJECTED EXTERNAL\r\n"))


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[str]:
    """The socket of a bus of our own."""
    address = tmp_path / "bus"
    words = [peer("dbus-daemon"), "--session", "--nofork", "--nopidfile", f"--address=unix:path={address}"]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as daemon:
        try:
            wait_until(address.exists)
            yield str(address)
        finally:
            daemon.kill()


def test_the_reference_bus_understands_us_and_we_it(bus: str) -> None:
    asked = Message(
        kind=CALL,
        serial=1,
        destination="org.freedesktop.DBus",
        path="/org/freedesktop/DBus",
        interface="org.freedesktop.DBus",
        member="Hello",
    )
    again = asked.replace(
        serial=2, member="GetConnectionCredentials", signature="s", body=("org.freedesktop.DBus",)
    )
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.connect(bus)
        connection.sendall(GREETING)
        reader = Reader()
        while not reader.greeted:
            assert not list(reader.feed(connection.recv(65536)))
        connection.sendall(asked.encode() + again.encode())
        answers: dict[int, Message] = {}
        while 2 not in answers:
            data = connection.recv(65536)
            assert data
            answers |= {message.answers: message for message in reader.feed(data)}
    finally:
        connection.close()
    assert answers[1].body[0].startswith(":1.")
    (credentials,) = answers[2].body
    assert credentials["UnixUserID"] == Variant("u", os.getuid())
