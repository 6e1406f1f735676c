"""The one loop in which a shim waits: for descriptors, for moments, and for other threads."""

from __future__ import annotations

import _thread
import os
import select
import time
from heapq import heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
_POLLED = 0xFFFF


class Timer:
    """A call that is to come; `cancel` takes it back."""

    __slots__ = ("call", "moment")

    def __init__(self, moment: float, call: Callable[[], None]) -> None:
        self.moment = moment
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Do not call any more."""
        self.call = None

    def __lt__(self, other: Timer) -> bool:
        return self.moment < other.moment


class Loop:
    """Calls back when something is there. All methods but `call_soon` belong to the loop's thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[int, Callable[[int], None]]] = {}
        self._timers: list[Timer] = []
        self._handed: list[Callable[[], None]] = []
        self._lock = _thread.allocate_lock()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._stopped = False
        self.busy_at = time.monotonic()
        """When a descriptor has led to a call for the last time."""
        self.report: Callable[[Exception], None] | None = None
        """Gets what a call raises; without it the loop ends with that."""

    def watch(self, descriptor: int, events: int, call: Callable[[int], None]) -> None:
        """call(events) whenever it is ready, until `forget`. Watching it again replaces both.

        events: READ, WRITE or both; the kernel adds EPOLLHUP and EPOLLERR. Raises PermissionError
        for what epoll cannot watch: a regular file.
        """
        if descriptor in self._watched:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
        self._watched[descriptor] = events, call

    def forget(self, descriptor: int) -> None:
        """No longer watch; to be called before the descriptor is closed. Unknown ones are fine."""
        if self._watched.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def interest(self, descriptor: int) -> int:
        """The events that it is watched for, of those that poll(2) knows; 0 for none."""
        return self._watched.get(descriptor, (0,))[0] & _POLLED

    def is_expecting(self, *others: Timer) -> bool:
        """Whether calls are to come by themselves, but for these."""
        return bool(self._handed) or any(each.call and each not in others for each in self._timers)

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Call once, after some seconds."""
        timer = Timer(time.monotonic() + delay_s, call)
        heappush(self._timers, timer)
        return timer

    def call_soon(self, call: Callable[[], None]) -> None:
        """Call once, in the loop's thread. May be used from any thread."""
        with self._lock:
            self._handed.append(call)
        os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        """Return from `run` when the present round is over. From any thread, by `call_soon`."""
        self._stopped = True

    def run(self) -> None:
        """Wait and call until `stop`."""
        self._stopped = False
        while not self._stopped:
            for descriptor, events in self._epoll.poll(self._wait_s()):
                if descriptor == self._wake:
                    self._run_handed()
                elif (found := self._watched.get(descriptor)) is not None:
                    # Absent: an earlier call of this round has forgotten it.
                    self.busy_at = time.monotonic()
                    self._call(found[1], events)
            self._run_timers()

    def _wait_s(self) -> float | None:
        while self._timers and self._timers[0].call is None:
            heappop(self._timers)
        if not self._timers:
            return None
        return max(0.0, self._timers[0].moment - time.monotonic())

    def catch_up(self) -> None:
        """Do what was handed over so far, before `run` does anything else."""
        while self._handed:
            self._run_handed()

    def _run_handed(self) -> None:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return
        with self._lock:
            calls, self._handed = self._handed, []
        for call in calls:
            self._call(call)

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0].moment <= now:
            if (call := heappop(self._timers).call) is not None:
                self._call(call)

    def _call(self, call: Callable[..., None], *arguments: int) -> None:
        """One fault must not take everything with it that hangs on this loop."""
        try:
            call(*arguments)
        except Exception as error:
            if self.report is None:
                raise
            self.report(error)

    def close(self) -> None:
        """Close what the loop itself holds."""
        self._epoll.close()
        os.close(self._wake)
