from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.shim import timestamps

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@given(st.integers(0, 4_000_000_000 * 10**9))
def test_a_time_survives_being_written(time_ns: int) -> None:
    assert timestamps.parse(timestamps.rfc3339(time_ns)) == time_ns


@given(st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2200, 1, 1)), st.integers(-840, 840))
def test_times_of_any_zone_are_read_as_datetime_reads_them(
    moment: datetime.datetime, offset_min: int
) -> None:
    aware = moment.replace(tzinfo=datetime.timezone(datetime.timedelta(minutes=offset_min)))
    expected = (aware - _EPOCH) // datetime.timedelta(microseconds=1) * 1000
    assert timestamps.parse(aware.isoformat()) == expected


@given(st.text(alphabet=st.sampled_from("0123456789-+:.TZz é"), max_size=32))
def test_other_text_is_a_value_error(text: str) -> None:
    try:
        timestamps.parse(text)
    except ValueError:
        pass


@pytest.mark.parametrize(
    "text", ["", "now", "2026-13-01T00:00:00Z", "2026-01-01 00:00:00Z", "2026-01-01T00:00:00"]
)
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        timestamps.parse(text)
