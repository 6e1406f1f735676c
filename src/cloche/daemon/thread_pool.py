"""Threads for what blocks, of which each piece of work wakes one.

Those of Python's executors wait at one lock for their work: whoever gets it hands the lock to the next, so
that all of them wake up in turn and want the interpreter, to find nothing. Here the thread that was idle
last, whose stack is warm, is woken, and no other.
"""

from __future__ import annotations

import threading
from _thread import allocate_lock
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class ThreadPool:
    """Up to `limit` threads; work that finds none waits for one. To be used from any thread."""

    def __init__(self, limit: int, name: str) -> None:
        """name: what its threads are called, with a number."""
        self._limit = limit
        self._name = name
        self._lock = allocate_lock()
        self._idle: list[_Idle] = []
        self._waiting: deque[Callable[[], Any]] = deque()
        self._threads = 0
        self._closed = False

    def submit(self, work: Callable[[], Any]) -> bool:
        """Have a thread call work(), which must not raise; False once the pool is closed."""
        with self._lock:
            if self._closed:
                return False
            if self._idle:
                self._idle.pop().begin(work)
                return True
            if self._threads == self._limit:
                self._waiting.append(work)
                return True
            self._threads += 1
            number = self._threads
        threading.Thread(target=self._serve, args=(work,), name=f"{self._name}-{number}", daemon=True).start()
        return True

    def close(self) -> None:
        """Take no more work, and drop what waits. What runs is not waited for."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            for idle in self._idle:
                idle.begin(None)
            self._idle.clear()

    def _serve(self, work: Callable[[], Any] | None) -> None:
        idle = _Idle()
        while work is not None:
            work()
            with self._lock:
                if self._closed:
                    return
                if self._waiting:
                    work = self._waiting.popleft()
                    continue
                self._idle.append(idle)
            work = idle.wait()


class _Idle:
    """One thread's place to wait."""

    __slots__ = ("_bell", "_work")

    def __init__(self) -> None:
        self._bell = allocate_lock()
        self._bell.acquire()
        self._work: Callable[[], Any] | None = None

    def begin(self, work: Callable[[], Any] | None) -> None:
        """Wake it up. None: it is to end."""
        self._work = work
        self._bell.release()

    def wait(self) -> Callable[[], Any] | None:
        """What there is to do. The thread's own to call."""
        self._bell.acquire()
        work, self._work = self._work, None
        return work
