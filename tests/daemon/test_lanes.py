"""Threads by lane."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial

import pytest

from cloche.daemon.lanes import Lanes
from tests.daemon.service import run


def test_of_one_key_one_runs_at_a_time_and_in_order() -> None:
    running, most, order = 0, 0, []

    def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.002)
        order.append(number)
        running -= 1
        return number

    async def many() -> list[int]:
        lanes = Lanes()
        try:
            calls = [lanes.run_in("general", "web", partial(work, n)) for n in range(20)]
            return list(await asyncio.gather(*calls))
        finally:
            lanes.close()

    assert run(many()) == list(range(20))
    assert (most, order) == (1, list(range(20)))


def test_keys_and_pools_do_not_wait_for_each_other() -> None:
    stuck = threading.Event()

    async def both() -> None:
        lanes = Lanes()
        first = asyncio.ensure_future(lanes.run_in("general", "stuck", stuck.wait))
        second = asyncio.ensure_future(lanes.run_in("general", "stuck", lambda: "late"))
        assert await lanes.run_in("general", "other", lambda: 1) == 1
        assert await lanes.run_in("pulls", None, lambda: 2) == 2
        assert not second.done()
        stuck.set()
        assert await first
        assert await second == "late"
        lanes.close()

    run(both())


def test_one_who_gives_up_leaves_the_lane_to_the_next_only_when_the_work_is_done() -> None:
    go = threading.Event()
    ended = []

    def work() -> None:
        go.wait()
        ended.append("first")

    async def give_up() -> None:
        lanes = Lanes()
        first = asyncio.ensure_future(lanes.run_in("general", "web", work))
        second = asyncio.ensure_future(lanes.run_in("general", "web", lambda: ended.append("second")))
        third = asyncio.ensure_future(lanes.run_in("general", "web", lambda: ended.append("third")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(asyncio.CancelledError):
            await second
        assert not third.done()
        go.set()
        await third
        lanes.close()

    run(give_up())
    assert ended == ["first", "third"]


def test_an_error_frees_the_lane() -> None:
    def fail() -> None:
        raise OSError("no")

    async def twice() -> int:
        lanes = Lanes()
        with pytest.raises(OSError, match="no"):
            await lanes.run_in("general", "web", fail)
        try:
            return await lanes.run_in("general", "web", lambda: 3)
        finally:
            lanes.close()

    assert run(twice()) == 3
