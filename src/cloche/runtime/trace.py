"""How long each operation of a plan takes: the caller's timed here, init's by init itself.

Init writes its times into a page that it shares with us, and only where there is one. All times are
CLOCK_REALTIME, the one clock that no time namespace moves.
"""

from __future__ import annotations

import os
import time
from _struct import iter_unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.runtime.plan import Plan, Step

_ENTRY = 16


class Trace:
    """The times of one execution. A context manager that closes the shared memory."""

    def __init__(self) -> None:
        self._memory = -1
        self._plan: Plan | None = None
        self._began_ns = time.time_ns()
        self._ended_ns = 0
        self._caller: dict[int, tuple[int, int]] = {}

    @staticmethod
    def now() -> int:
        """Nanoseconds of the clock that init reads too."""
        return time.time_ns()

    def begin(self, plan: Plan) -> None:
        """This plan is what will be executed."""
        self._plan = plan
        self._began_ns = time.time_ns()
        self._memory = os.memfd_create("cloche-trace", os.MFD_CLOEXEC)
        os.truncate(self._memory, _ENTRY * len(plan.steps))

    @property
    def memory(self) -> int:
        """What init writes its times into, for each of its operations start and end; borrowed."""
        return self._memory

    def performed(self, step: Step, began_ns: int) -> None:
        """One of the caller's own steps has just ended."""
        steps = self._plan.steps if self._plan else ()
        index = next(index for index, each in enumerate(steps) if each is step)
        self._caller[index] = (began_ns, time.time_ns())

    def end(self) -> None:
        """The program was executed, or waits at the gate."""
        self._ended_ns = time.time_ns()

    def table(self) -> str:
        """One line a step: start and duration in milliseconds, who did it, what, and from where.

        What follows a seccomp filter is not timed: the filter may forbid to look at the clock.
        """
        if self._plan is None:
            return ""
        lines = [f"{'START ms':>9} {'TIME ms':>8}  OPERATION"]
        for index, (start, end) in self._times(self._plan).items():
            began = f"{(start - self._began_ns) / 1e6:9.3f}" if start else " " * 9
            took = f"{(end - start) / 1e6:8.3f}" if start and end else " " * 8
            lines.append(f"{began} {took}  {self._plan.steps[index].describe()}")
        if self._ended_ns:
            lines.append(f"{(self._ended_ns - self._began_ns) / 1e6:9.3f} {'':8}  done")
        return "\n".join(lines) + "\n"

    def _times(self, plan: Plan) -> dict[int, tuple[int, int]]:
        from cloche.runtime.operations import Operation

        stamps = list(iter_unpack("=2Q", os.pread(self._memory, _ENTRY * len(plan.steps), 0)))
        inner = [index for index, step in enumerate(plan.steps) if isinstance(step.operation, Operation)]
        times = dict.fromkeys(range(len(plan.steps)), (0, 0)) | self._caller
        times.update(zip(inner, stamps, strict=False))
        # Nobody sees execve(2) return: it ends when its caller hears of it.
        last = inner[-1]
        if times[last][0] and not times[last][1]:
            times[last] = (times[last][0], self._ended_ns)
        return times

    def __enter__(self) -> Trace:
        return self

    def __exit__(self, *_: object) -> None:
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1
