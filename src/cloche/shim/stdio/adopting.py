"""The streams of a process whose shim has died, in the hands of the next one.

What had been read was handed on, and what had not is in the pipes still; only the writing of a log
may have been done a moment before it was taken from the pipe, and is done again.
"""

from __future__ import annotations

import os

from cloche.errors import ClocheError
from cloche.shim.stdio import uris as targets
from cloche.shim.stdio.opener import Opener
from cloche.shim.stdio.opening import READY_S
from cloche.shim.stdio.process import DRAIN_S, Stdio
from cloche.shim.stdio.sinks import NullSink, PipeSink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.shim.loop import Loop
    from cloche.shim.stdio.opening import Uris
    from cloche.shim.stdio.process import Kept
    from cloche.shim.stdio.pump import Sink


def adopt_stdio(
    loop: Loop,
    uris: Uris,
    kept: Kept,
    *,
    container_id: str,
    namespace: str,
    drain_s: float = DRAIN_S,
    ready_s: float = READY_S,
) -> Stdio:
    """Go on with the streams of a process whose shim has died. May be called from any thread.

    uris: what they were opened with. kept: its `Stdio.kept`, owned from now on; its console is attached.
    The others are as for open_stdio. A client that took its fifo away gets nothing any more, which is
    no error. A program that logs a terminal has ended with its shim, and is started again.
    """
    environment = {"CONTAINER_ID": container_id, "CONTAINER_NAMESPACE": namespace}
    stdio = Stdio(loop, drain_s=drain_s)
    adopter = _Adopter(loop, stdio, kept, environment, ready_s)
    adopter.open(uris.stdin, uris.stdout, uris.stderr, terminal=uris.terminal)
    loop.call_soon(stdio.begin)
    if kept.console >= 0:
        loop.call_soon(lambda: stdio.attach_console(kept.console))
    loop.call_soon(stdio.open_input)
    return stdio


class _Adopter(Opener):
    """Fills a Stdio with what was kept; the process has its own ends already."""

    def __init__(
        self, loop: Loop, stdio: Stdio, kept: Kept, environment: dict[str, str], ready_s: float
    ) -> None:
        super().__init__(loop, stdio, None, environment, ready_s)
        self._kept = kept
        self._loose = {end for end in kept.values() if end >= 0 and end != kept.console}
        stdio.kept = kept

    def _null(self) -> int:
        return -1

    def _pipe(self, stream: str) -> tuple[int, int]:
        end: int = getattr(self._kept, stream)
        if stream == "stdin":
            return -1, end
        if stream == "printed":
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
            writing = os.open(f"/proc/self/fd/{end}", flags)
            self._loose.add(writing)
            return end, writing
        return end, -1

    def _log_both(self, target: targets.Target, only: str = "") -> tuple[int, int]:
        """The program has gone on: it reads what the process writes."""
        for stream in ("stdout", "stderr"):
            end: int = getattr(self._kept, stream)
            if end in self._loose and only in ("", stream):
                self._loose.discard(end)
                self.stdio.hold(end)
        return -1, -1

    def _sink(self, target: targets.Target) -> Sink:
        try:
            return super()._sink(target)
        except ClocheError:
            return NullSink()

    def _input(self, target: targets.Target, null: int) -> int:
        end = self._kept.stdin
        if end >= 0:
            if target.scheme == targets.ATTACH:
                self.stdio.add_attached_input(end)
            elif (fifo := self._fifo(target)) >= 0:
                self.stdio.add_input(fifo, PipeSink(end))
            else:
                # Its end would be the end of the input, which nobody has asked for.
                self.stdio.hold(end)
            self._loose.discard(end)
        return -1

    def _fifo(self, target: targets.Target) -> int:
        try:
            return super()._fifo(target)
        except ClocheError:
            return -1
