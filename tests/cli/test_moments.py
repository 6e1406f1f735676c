"""Points in time as `logs --since` takes them."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.cli import moments
from cloche.errors import InvalidArgument


@pytest.fixture
def berlin() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "CET-1"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-01-02T03:04:05Z", 1767323045),
        ("2026-01-02T03:04:05.25Z", 1767323045.25),
        ("2026-01-02T04:04:05+01:00", 1767323045),
        ("2026-01-01T22:04:05-05:00", 1767323045),
        ("2026-01-02T04:04:05", 1767323045),
        ("2026-01-02T04:04", 1767323040),
        ("2026-01-02 04:04:05", 1767323045),
        ("2026-01-02", 1767308400),
        ("1767323045", 1767323045),
        ("1767323045.5", 1767323045.5),
        ("42m", 10000 - 42 * 60),
        ("1h30m", 10000 - 5400),
        ("1.5s", 9998.5),
        ("100ms", 9999.9),
    ],
)
def test_a_time_is_understood_as_docker_does(berlin: None, text: str, seconds: float) -> None:
    assert moments.parse(text, now_ns=10000 * 10**9) == round(seconds * 100) * 10**7


@pytest.mark.parametrize(
    "text", ["", "x", "10", "2026-13-01T00:00:00Z", "2026-01-01T25:00:00Z", "5d", "m", "1e5", "--", "1..2s"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    if text == "10":
        assert moments.parse(text) == 10 * 10**9
        return
    with pytest.raises(InvalidArgument, match="invalid time"):
        moments.parse(text)


@given(st.datetimes(min_value=datetime.datetime(1970, 1, 1), timezones=st.just(datetime.UTC)))
def test_every_rfc_3339_time_means_what_datetime_says(moment: datetime.datetime) -> None:
    since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    assert moments.parse(moment.isoformat()) == since // datetime.timedelta(microseconds=1) * 1000


@given(st.one_of(st.text(), st.text("0123456789-:.TZhms+ ", max_size=30)))
def test_any_text_is_a_time_or_a_clean_error(text: str) -> None:
    message = "invalid time"
    try:
        assert isinstance(moments.parse(text), int)
    except InvalidArgument as error:
        message = str(error)
    assert message.startswith("invalid time")
