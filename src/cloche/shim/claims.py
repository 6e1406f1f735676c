"""Which children of a shim are somebody's own to reap, and which are orphans that came to it.

A shim is a subreaper: whatever a container's processes leave behind becomes its child, and somebody
has to reap that. But a lane that executes a runtime waits for that command itself, and the container's
process, which is handed to the shim the moment the command ends, may have ended before anybody
wrote down its number: an exit status that is reaped then is lost for good. So orphans are left
alone as long as a birth is under way, and claimed ones for ever.
"""

from __future__ import annotations

import _thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Claims:
    """What the reaper of orphans asks before it reaps. All methods may be called from any thread.

    settled: called when the last birth is over, and when a claim is given up, in the thread of that:
        orphans may be looked at again.
    """

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._claimed: set[int] = set()
        self._births = 0
        self.settled: Callable[[], None] = _nobody_waits

    def __enter__(self) -> Claims:
        """A birth is under way: a command runs whose descendants will be ours."""
        with self._lock:
            self._births += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._births -= 1
            settled = not self._births
        if settled:
            self.settled()

    def claim(self, pid: int) -> None:
        """This child is reaped by whoever claims it."""
        with self._lock:
            self._claimed.add(pid)

    def release(self, pid: int) -> None:
        """It was reaped, so its number may be an orphan's next. Unknown ones are fine."""
        with self._lock:
            self._claimed.discard(pid)
            settled = not self._births
        if settled:
            self.settled()

    def is_orphan(self, pid: int) -> bool:
        """Whether a child may be reaped by whoever reaps what nobody asks for."""
        with self._lock:
            return not self._births and pid not in self._claimed


def _nobody_waits() -> None:
    """What `Claims.settled` is until a reaper sets its own."""


CLAIMS = Claims()
"""The process's own: like its children it belongs to no part of it. A fork starts with a copy, made
where no birth is under way."""
