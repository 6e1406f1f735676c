from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.spec import duration


@pytest.mark.parametrize(
    ("text", "length"), [("", 0), ("5s", 5), ("1h30m", 5400), ("250ms", 0.25), ("1µs", 1e-6)]
)
def test_lengths_of_time_as_go_writes_them(text: str, length: float) -> None:
    assert duration.seconds(text) == length


@given(st.text("0123456789.hmsnuµ -d", max_size=12))
def test_other_texts_are_refused(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        assert duration.seconds(text) >= 0
