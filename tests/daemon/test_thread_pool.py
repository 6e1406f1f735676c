"""Threads that are woken one at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cloche.daemon.thread_pool import ThreadPool
from tests.waiting import wait_until


def gathered(pool: ThreadPool, number: int) -> Callable[[], None]:
    """Has so many threads at work at the same time; the answer lets them go."""
    go, together = threading.Event(), threading.Barrier(number + 1)

    def work() -> None:
        together.wait(5)
        go.wait(5)

    for _ in range(number):
        assert pool.submit(work)
    together.wait(5)
    return go.set


def names_of(pool: ThreadPool, calls: int) -> set[str]:
    """The threads that did so many pieces of work, one after the other."""
    names = set()
    for _ in range(calls):
        done = threading.Event()

        def work(done: threading.Event = done) -> None:
            names.add(threading.current_thread().name)
            done.set()

        pool.submit(work)
        assert done.wait(5)
    return names


def idle(pool: ThreadPool) -> int:
    return len(pool._idle)


def test_the_thread_that_was_idle_last_works_and_the_others_sleep_on() -> None:
    pool = ThreadPool(8, "tested")
    gathered(pool, 5)()
    wait_until(lambda: idle(pool) == 5)
    done = []
    for _ in range(20):
        names = names_of(pool, 1)
        wait_until(lambda: idle(pool) == 5)
        done.append(names)
    assert len(set.union(*done)) == 1
    pool.close()


def test_work_beyond_the_limit_waits_for_a_thread() -> None:
    pool = ThreadPool(2, "tested")
    let_go = gathered(pool, 2)
    late = threading.Event()
    pool.submit(late.set)
    assert not late.wait(0.05)
    let_go()
    assert late.wait(5)
    pool.close()


def test_a_closed_pool_takes_no_work_and_lets_its_threads_end() -> None:
    pool = ThreadPool(4, "ending")
    let_go = gathered(pool, 3)
    pool.close()
    assert not pool.submit(lambda: None)
    let_go()
    wait_until(lambda: not [each for each in threading.enumerate() if each.name.startswith("ending-")])


def test_a_pool_that_is_closed_while_idle_ends_too() -> None:
    pool = ThreadPool(4, "idle")
    gathered(pool, 3)()
    wait_until(lambda: idle(pool) == 3)
    pool.close()
    wait_until(lambda: not [each for each in threading.enumerate() if each.name.startswith("idle-")])
