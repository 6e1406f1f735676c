"""Being told when a cgroup runs out of memory: an eventfd on v1, a poll of memory.events on v2."""

from __future__ import annotations

import os
import select

from cloche.kernel.cgroups.files import write
from cloche.kernel.cgroups.layout import UNIFIED
from cloche.kernel.cgroups.metrics import oom_kills

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class OomWatch:
    """Notices of one cgroup's lack of memory; a context manager.

    paths: as Cgroup.paths. fileno() gets `interest` events when there may be something to `take`.
    Raises OSError where the kernel has no such notices.
    """

    def __init__(self, paths: Mapping[str, str]) -> None:
        self._paths = paths
        self._legacy = paths.get("memory", "")
        if self._legacy:
            self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self.interest = select.POLLIN
            self._register()
        else:
            place = f"{paths.get(UNIFIED, '')}/memory.events"
            self._descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            self.interest = select.POLLPRI
        self._kills = oom_kills(paths)

    @classmethod
    def adopt(cls, paths: Mapping[str, str], descriptor: int, kills: int) -> OomWatch:
        """One that another process has made. descriptor: owned from now on; kills: of its `state`."""
        watch = cls.__new__(cls)
        watch._paths, watch._descriptor, watch._kills = paths, descriptor, kills
        watch._legacy = paths.get("memory", "")
        watch.interest = select.POLLIN if watch._legacy else select.POLLPRI
        return watch

    @property
    def state(self) -> tuple[Mapping[str, str], int]:
        """Its paths, and how many kills it knows of."""
        return self._paths, self._kills

    def _register(self) -> None:
        try:
            control = os.open(f"{self._legacy}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            try:
                write(f"{self._legacy}/cgroup.event_control", f"{self._descriptor} {control}")
            finally:
                os.close(control)
        except BaseException:
            os.close(self._descriptor)
            raise

    def fileno(self) -> int:
        """What to poll."""
        return self._descriptor

    def take(self) -> int:
        """How many times memory ran out since the last call; never blocks.

        v1 counts notices (of which the removal of the cgroup is one, and left out here), v2 kills.
        """
        if not self._legacy:
            before = self._kills
            # Reading through the polled descriptor is what makes it wait for the next change.
            try:
                os.pread(self._descriptor, 4096, 0)
            except OSError:  # ENODEV: the cgroup is gone
                return 0
            self._kills = max(before, oom_kills(self._paths))
            return self._kills - before
        try:
            count = os.eventfd_read(self._descriptor)
        except BlockingIOError:
            return 0
        return count if os.path.exists(f"{self._legacy}/cgroup.event_control") else 0

    def __enter__(self) -> OomWatch:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
