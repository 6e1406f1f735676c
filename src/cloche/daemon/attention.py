"""An event loop that looks twice before it goes to sleep.

A command of ctr's is dozens of calls, each made once the one before is answered. A processor that has
nothing to do is halted, and on a virtual machine it takes about as long to wake up as a call takes. So
where the last sleep was as short as that, the loop looks for news a few times before the next one; Go's
scheduler does the same for containerd.
"""

from __future__ import annotations

import asyncio
import selectors
from time import perf_counter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Ready = list[tuple[selectors.SelectorKey, int]]

# A client's next call is here within the first. A sleep that was shorter than the second was one too many.
_LOOKING_S = 0.00015
_SHORT_S = 0.0002


class AttentiveSelector(selectors.EpollSelector):
    """Waits for events as its base does, and looks for them a moment longer where they come quickly.

    elsewhere: how many threads have work. They need the interpreter, which looking would take away.
    """

    def __init__(self, elsewhere: Callable[[], int]) -> None:
        super().__init__()
        self._elsewhere = elsewhere
        self._expecting = False

    def select(self, timeout: float | None = None) -> Ready:
        """What is ready, within `timeout` seconds; None waits for it."""
        if timeout is not None and timeout <= 0:
            return super().select(0)
        began = perf_counter()
        if self._expecting and not self._elsewhere():
            while perf_counter() - began < _LOOKING_S:
                if ready := super().select(0):
                    return ready
        ready = super().select(timeout)
        self._expecting = perf_counter() - began < _SHORT_S
        return ready


def attentive_loop(elsewhere: Callable[[], int]) -> asyncio.AbstractEventLoop:
    """A new event loop with such a selector."""
    return asyncio.SelectorEventLoop(AttentiveSelector(elsewhere))
