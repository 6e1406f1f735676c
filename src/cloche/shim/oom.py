"""Telling that a container ran out of memory, from the loop."""

from __future__ import annotations

from cloche.kernel.cgroups.oom import OomWatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cloche.shim.loop import Loop


class OomNotices:
    """The notices of one container's cgroup. Made on a lane, used in the loop's thread."""

    def __init__(self, watch: OomWatch) -> None:
        self.watch = watch
        self._loop: Loop | None = None
        self._told: Callable[[], None] | None = None

    @classmethod
    def of(cls, paths: Mapping[str, str]) -> OomNotices | None:
        """For a cgroup's directories by controller; None where the kernel gives no such notices."""
        try:
            return cls(OomWatch(paths))
        except OSError:
            # Without a memory controller a container runs all the same.
            return None

    def listen(self, loop: Loop, told: Callable[[], None]) -> None:
        """Call told() whenever memory has run out."""
        self._loop, self._told = loop, told
        loop.watch(self.watch.fileno(), self.watch.interest, lambda _: self._take())

    def _take(self) -> None:
        if self.watch.take() and self._told is not None:
            self._told()

    def close(self) -> None:
        """Tell what is still untold, and listen no more."""
        self._take()
        if self._loop is not None:
            self._loop.forget(self.watch.fileno())
        self.watch.__exit__(None, None, None)
