"""The loop: descriptors, moments, other threads, and calls that fail."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from cloche.shim.loop import READ, Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop that the test runs itself."""
    made = Loop()
    yield made
    made.close()


def test_what_is_readable_is_called_until_it_is_forgotten(loop: Loop) -> None:
    reading, writing = os.pipe()
    seen = []

    def ready(_: int) -> None:
        seen.append(os.read(reading, 1))
        if len(seen) == 3:
            loop.forget(reading)
            loop.call_soon(loop.stop)

    loop.watch(reading, READ, ready)
    os.write(writing, b"abcd")
    loop.run()
    assert seen == [b"a", b"b", b"c"]
    os.close(reading)
    os.close(writing)


def test_moments_come_in_their_order_and_can_be_taken_back(loop: Loop) -> None:
    seen = []
    loop.call_later(0.03, loop.stop)
    loop.call_later(0.02, lambda: seen.append(2))
    loop.call_later(0.01, lambda: seen.append(1))
    loop.call_later(0.015, lambda: seen.append(0)).cancel()
    loop.run()
    assert seen == [1, 2]


def test_other_threads_hand_calls_over(loop: Loop) -> None:
    seen: list[int | None] = []

    def hand_over() -> None:
        loop.call_soon(lambda: seen.append(threading.current_thread().ident))
        loop.call_soon(loop.stop)

    other = threading.Thread(target=hand_over)
    other.start()
    loop.run()
    other.join()
    assert seen == [threading.current_thread().ident]


def test_a_call_that_fails_is_reported_and_takes_nothing_with_it(loop: Loop) -> None:
    reported: list[Exception] = []
    seen = []
    loop.report = reported.append

    def fail() -> None:
        raise ZeroDivisionError

    loop.call_soon(fail)
    loop.call_soon(lambda: seen.append("next"))
    loop.call_later(0.001, fail)
    loop.call_later(0.002, loop.stop)
    loop.run()
    assert (seen, [type(error) for error in reported]) == (["next"], [ZeroDivisionError] * 2)


def test_without_a_reporter_the_loop_ends_with_what_failed(loop: Loop) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    loop.call_soon(fail)
    with pytest.raises(ZeroDivisionError):
        loop.run()
