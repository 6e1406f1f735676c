"""The loop that looks twice before it sleeps."""

from __future__ import annotations

import asyncio
import selectors
import socket
import threading
import time

import pytest

from cloche.daemon.attention import AttentiveSelector, attentive_loop


class Sleeps:
    """Counts how often a selector asks the kernel, and how often it goes to sleep for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looks = self.sleeps = 0
        original = selectors.EpollSelector.select

        def select(selector: AttentiveSelector, timeout: float | None = None) -> object:
            self.looks += 1
            self.sleeps += timeout is None or timeout > 0
            return original(selector, timeout)

        monkeypatch.setattr(selectors.EpollSelector, "select", select)


def answer(end: socket.socket, times: int, pause_s: float) -> None:
    """Send a byte, take what comes back, think, and again."""
    for _ in range(times):
        end.send(b"?")
        end.recv(1)
        time.sleep(pause_s)


def echo(selector: AttentiveSelector, times: int, pause_s: float) -> None:
    """Be asked so many times by somebody who pauses in between."""
    here, there = socket.socketpair()
    with here, there:
        selector.register(here, selectors.EVENT_READ)
        client = threading.Thread(target=answer, args=(there, times, pause_s))
        client.start()
        for _ in range(times):
            assert selector.select(5)
            here.send(here.recv(1))
        client.join()
        selector.unregister(here)


def test_who_is_slow_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with AttentiveSelector(lambda: 0) as selector:
        seen = Sleeps(monkeypatch)
        echo(selector, 1, 0)
        selector.select(0.005)
        once = seen.looks
        echo(selector, 20, 0.005)
    # The first question comes at once, and so the next is looked for; those after it are not.
    assert once > 10
    assert seen.looks < 5 * once


def test_who_is_quick_is_found_without_sleeping(monkeypatch: pytest.MonkeyPatch) -> None:
    with AttentiveSelector(lambda: 0) as selector:
        selector._expecting = True
        here, there = socket.socketpair()
        with here, there:
            selector.register(here, selectors.EVENT_WRITE)
            seen = Sleeps(monkeypatch)
            assert selector.select(5)
        assert (seen.looks, seen.sleeps) == (1, 0)


def test_nothing_is_looked_for_where_threads_need_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    with AttentiveSelector(lambda: 1) as selector:
        selector._expecting = True
        seen = Sleeps(monkeypatch)
        assert not selector.select(0.01)
        assert (seen.looks, seen.sleeps) == (1, 1)


def test_an_idle_loop_uses_no_processor() -> None:
    loop = attentive_loop(lambda: 0)
    try:
        before = time.thread_time()
        loop.run_until_complete(asyncio.sleep(0.3))
        assert time.thread_time() - before < 0.02
    finally:
        loop.close()
