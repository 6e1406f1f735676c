"""A loop over epoll: who waits for a descriptor is called when there is something."""

from __future__ import annotations

import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ, WRITE = select.EPOLLIN, select.EPOLLOUT


class Events:
    """The descriptors that are waited for, and one function for each."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waiting: dict[int, Callable[[int], None]] = {}
        self._hourly: list[Callable[[float], None]] = []
        self._over = False

    def watch(self, descriptor: int, events: int, call: Callable[[int], None]) -> None:
        """Call with the events that have come, from now on; in place of what was there before."""
        if descriptor in self._waiting:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
        self._waiting[descriptor] = call

    def forget(self, descriptor: int) -> None:
        """Before it is closed."""
        if self._waiting.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def regularly(self, call: Callable[[float], None]) -> None:
        """Call with the time every now and then."""
        self._hourly.append(call)

    def stop(self) -> None:
        """Return from `run`."""
        self._over = True

    def run(self, *, pause_s: float = 5.0) -> None:
        """Until `stop`."""
        while not self._over:
            ready = self._epoll.poll(pause_s if self._hourly else None)
            for descriptor, events in ready:
                call = self._waiting.get(descriptor)
                if call is not None:
                    call(events)
            if self._hourly:
                now = time.monotonic()
                for each in self._hourly:
                    each(now)
