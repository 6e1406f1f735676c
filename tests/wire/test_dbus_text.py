"""Values of D-Bus as text: what annotations may say, and what is refused in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.wire.dbus_text import parse
from cloche.wire.dbus_values import Variant


@pytest.mark.parametrize(
    ("text", "signature", "value"),
    [
        ("true", "b", True),
        ("5", "i", 5),
        ("-5", "i", -5),
        ("1.5", "d", 1.5),
        ("uint64 30", "t", 30),
        ("double 30", "d", 30.0),
        ("@t 30", "t", 30),
        ("'idle'", "s", "idle"),
        ('"it\'s"', "s", "it's"),
        ("objectpath '/a'", "o", "/a"),
        ("'\\u0041\\n'", "s", "A\n"),
        ("@as []", "as", []),
        ("['a', 'b']", "as", ["a", "b"]),
        ("[byte 1, 2]", "ay", b"\1\2"),
        ("[('a', 'b')]", "a(ss)", [("a", "b")]),
        ("{'a': uint32 1, 'b': 2}", "a{su}", {"a": 1, "b": 2}),
        ("<'a'>", "v", Variant("s", "a")),
        ("(1,)", "(i)", (1,)),
        (" [ <1> , <'x'> ] ", "av", [Variant("i", 1), Variant("s", "x")]),
    ],
)
def test_the_notation(text: str, signature: str, value: Any) -> None:
    assert parse(text) == Variant(signature, value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "idle",
        "[]",
        "{}",
        "()",
        "'a",
        "[1, 'a']",
        "1 2",
        "@as 5",
        "@zz 5",
        "byte 300",
        "uint64 -1",
        "'\\ud800'",
    ],
)
def test_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)


@given(st.text("0123456789.-truefalsin@a[](){}<>,:'\" \\", max_size=30) | st.text(max_size=10))
def test_any_text_is_a_value_or_refused(text: str) -> None:
    try:
        parse(text)
    except ValueError:
        return
