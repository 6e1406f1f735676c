"""Where a container's calls wait for the kernel: one worker thread, while there is work.

The loop's thread must never wait. What may do so runs on the container's lane, one call after the
other; what came of it is handed back to the loop. A lane whose thread is stuck stops nobody else.
"""

from __future__ import annotations

import _thread

from cloche.errors import ResourceExhausted
from cloche.shim.following import carried

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cloche.shim.loop import Loop

    Done = Callable[[Any, BaseException | None], None]

_IDLE_S = 1.0
_STACK_BYTES = 256 << 10


class Lane:
    """Runs calls in order, beside the loop. `run` belongs to the loop's thread."""

    def __init__(self, loop: Loop, *, idle_s: float = _IDLE_S) -> None:
        """idle_s: how long its thread waits for another call."""
        self._loop = loop
        self._idle_s = idle_s
        self._lock = _thread.allocate_lock()
        self._bell = _thread.allocate_lock()
        self._bell.acquire()
        self._work: list[tuple[Callable[[], Any], Done]] = []
        self._alive = False
        self._idle = False

    def run(self, work: Callable[[], Any], done: Done) -> None:
        """Call work() on the lane, then done(result, error) in the loop's thread."""
        work = carried(work)
        with self._lock:
            self._work.append((work, done))
            if self._idle:
                self._idle = False
                self._bell.release()
                return
            if self._alive:
                return
            self._alive = True
        self._begin()

    def _begin(self) -> None:
        before = _thread.stack_size(_STACK_BYTES)
        try:
            _thread.start_new_thread(self._serve, ())
        except RuntimeError:
            with self._lock:
                self._alive = False
                refused, self._work = self._work, []
            for _, done in refused:
                done(None, ResourceExhausted("no thread can be started: is a limit on processes reached?"))
        finally:
            _thread.stack_size(before)

    def _serve(self) -> None:
        while self._carry_out_next():
            pass

    def _carry_out_next(self) -> bool:
        """In a function of its own: nothing of a finished call may live on in an idle thread."""
        task = self._next()
        if task is None:
            return False
        work, done = task
        result = error = None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        self._hand_back(done, result, error)
        return True

    def _hand_back(self, done: Done, result: object, error: BaseException | None) -> None:
        self._loop.call_soon(lambda: done(result, error))

    def _next(self) -> tuple[Callable[[], Any], Done] | None:
        """The next call; None when there was none for a while, and the thread is to end."""
        with self._lock:
            if self._work:
                return self._work.pop(0)
            if not self._idle_s:
                self._alive = False
                return None
            self._idle = True
        rung = self._bell.acquire(timeout=self._idle_s)
        with self._lock:
            if self._idle:
                self._idle = self._alive = False
                return None
        if not rung:  # it was, between the time-out and the lock
            self._bell.acquire()
        with self._lock:
            return self._work.pop(0)
