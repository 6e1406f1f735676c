"""Lanes: what waits on one of them holds up nobody else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cloche.shim.lanes import Lane
from cloche.shim.loop import Loop
from tests.waiting import wait_until


class Running:
    """A loop in a thread."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.thread = threading.Thread(target=self.loop.run)
        self.thread.start()
        self.done: list[tuple[Any, BaseException | None]] = []

    def run(self, lane: Lane, work: Any) -> None:
        """Hand work to a lane, as the loop's thread."""
        self.loop.call_soon(lambda: lane.run(work, lambda result, error: self.done.append((result, error))))

    def close(self) -> None:
        self.loop.call_soon(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def running() -> Iterator[Running]:
    """A loop that runs."""
    started = Running()
    yield started
    started.close()


def test_calls_run_in_order_beside_the_loop(running: Running) -> None:
    lane = Lane(running.loop)
    for number in range(20):
        running.run(lane, lambda number=number: (number, threading.get_ident()))
    wait_until(lambda: len(running.done) == 20)
    assert [result[0] for result, _ in running.done] == list(range(20))
    assert running.thread.ident not in {result[1] for result, _ in running.done}


def test_what_goes_wrong_is_handed_back(running: Running) -> None:
    def fail() -> None:
        raise KeyError("x")

    running.run(Lane(running.loop), fail)
    wait_until(lambda: running.done)
    assert isinstance(running.done[0][1], KeyError)


def test_a_lane_that_is_stuck_stops_no_other(running: Running) -> None:
    stuck, others = threading.Event(), Lane(running.loop)
    running.run(Lane(running.loop), stuck.wait)
    for number in range(5):
        running.run(others, lambda number=number: number)
    wait_until(lambda: len(running.done) == 5)
    stuck.set()
    wait_until(lambda: len(running.done) == 6)


def test_an_idle_lane_has_no_thread_and_gets_one_when_it_is_needed(running: Running) -> None:
    lane, before = Lane(running.loop), threading.active_count()
    for _ in range(2):
        running.run(lane, threading.active_count)
        wait_until(lambda: running.done)
        running.done.clear()
        wait_until(lambda: not lane._alive)
    assert threading.active_count() <= before
