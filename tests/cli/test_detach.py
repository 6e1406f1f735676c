"""The keys that leave a container's terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.cli import detach
from cloche.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", b""),
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("ctrl-@", b"\0"),
        ("ctrl-[,a", b"\x1ba"),
        ("ctrl-A", b"\x01"),
    ],
)
def test_key_names_are_bytes(text: str, keys: bytes) -> None:
    assert detach.parse(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-pp", "ab", "a,,b", "\u20ac", "ctrl-1"])
def test_names_of_no_keys_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="detach keys"):
        detach.parse(text)


@given(st.text())
def test_any_text_is_keys_or_a_clean_error(text: str) -> None:
    message = "invalid detach keys"
    try:
        assert len(detach.parse(text)) == (text.count(",") + 1 if text else 0)
    except InvalidArgument as error:
        message = str(error)
    assert message.startswith("invalid detach keys")
