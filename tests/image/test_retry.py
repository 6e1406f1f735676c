from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import Cancelled
from cloche.image.retry import Retries, retry_after_s


@pytest.mark.parametrize(
    ("value", "pause_s"),
    [
        ("0", 0.0),
        ("17", 17.0),
        (" 5 ", 5.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, pause_s: float | None) -> None:
    assert retry_after_s(value, now=10.0) == pause_s


@given(st.text(max_size=40))
def test_any_retry_after_is_borne(value: str) -> None:
    pause_s = retry_after_s(value, now=0.0)
    assert pause_s is None or pause_s >= 0


def test_attempts_are_counted_until_there_is_progress() -> None:
    retries = Retries(2, threading.Event())
    assert retries.again(0.0)
    assert not retries.again(0.0)
    retries.progressed()
    assert retries.again(0.0)


def test_a_pause_longer_than_anyone_waits_is_not_begun() -> None:
    assert not Retries(5, threading.Event()).again(3600.0)


def test_a_pause_ends_when_the_pull_is_cancelled() -> None:
    cancelled = threading.Event()
    threading.Timer(0.05, cancelled.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        Retries(5, cancelled).again(60.0)
    assert time.monotonic() - began < 5
