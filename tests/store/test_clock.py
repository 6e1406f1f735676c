from __future__ import annotations

import datetime
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.store import clock


def test_now_is_now() -> None:
    assert abs(clock.now() - time.time_ns()) < 10 * clock.SECOND


def test_a_test_can_move_the_clock() -> None:
    clock.advance(clock.HOUR)
    try:
        assert clock.now() - time.time_ns() > clock.HOUR - clock.SECOND
    finally:
        clock.advance(-clock.HOUR)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (1_706_702_400_500_000_000, "2024-01-31T12:00:00.5Z"),
    ],
)
def test_times_are_written_and_read_to_the_nanosecond(nanoseconds: int, text: str) -> None:
    assert clock.format_rfc3339(nanoseconds) == text
    assert clock.parse_rfc3339(text) == nanoseconds


@given(st.integers(min_value=0, max_value=4_000_000_000 * clock.SECOND))
def test_every_time_written_is_read_back(nanoseconds: int) -> None:
    assert clock.parse_rfc3339(clock.format_rfc3339(nanoseconds)) == nanoseconds


@given(st.datetimes(timezones=st.just(datetime.timezone(datetime.timedelta(hours=5, minutes=30)))))
def test_an_offset_counts(moment: datetime.datetime) -> None:
    seconds = (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(seconds=1)
    assert clock.parse_rfc3339(moment.isoformat()) // clock.SECOND == seconds


@pytest.mark.parametrize(
    "text",
    ["", "now", "2024-01-31", "2024-01-31T12:00:00", "2024-13-31T12:00:00Z", "2024-01-31T12:00:00.Z", "1"],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="must be a time"):
        clock.parse_rfc3339(text)


@given(st.text())
def test_no_text_does_worse_than_be_refused(text: str) -> None:
    try:
        clock.parse_rfc3339(text)
    except InvalidArgument:
        pass
