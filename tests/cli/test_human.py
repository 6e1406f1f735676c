"""Durations and sizes, in the words that docker's client prints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.cli import human


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0, 3, "0B"),
        (999, 3, "999B"),
        (1000, 3, "1kB"),
        (1234567, 3, "1.23MB"),
        (1234567, 4, "1.235MB"),
        (77_800_000, 3, "77.8MB"),
        (999_960, 3, "1MB"),
        (5.2e15, 3, "5.2PB"),
    ],
)
def test_a_size_is_told_in_decimal_units(value: float, digits: int, text: str) -> None:
    assert human.size(value, digits=digits) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0B"), (1024, "1KiB"), (1536, "1.5KiB"), (64 << 20, "64MiB"), (1023, "1023B")]
)
def test_memory_is_told_in_binary_units(value: int, text: str) -> None:
    assert human.binary_size(value) == text


@given(st.floats(min_value=0, max_value=1e30), st.sampled_from([3, 4]))
def test_no_size_is_printed_with_an_exponent(value: float, digits: int) -> None:
    assert human.size(value, digits=digits)[-1] == "B"
    assert "e" not in human.size(min(value, 1e26), digits=digits)
    assert "e" not in human.binary_size(min(value, 1e26))


@given(st.text())
def test_quoted_text_is_one_printable_word_of_output(text: str) -> None:
    result = human.quoted(text)
    assert result.isprintable()
    assert result[0] == result[-1] == '"'


def test_quoted_text_uses_gos_escapes() -> None:
    assert human.quoted('a"b\\c\n\x1b[0m\u20ac') == '"a\\"b\\\\c\\n\\x1b[0m\u20ac"'
