"""The streams of a process whose shim has died or rests, in the hands of the next worker.

What had been read was handed on, and what had not is in the pipes still; only the writing of a log
may have been done a moment before it was taken from the pipe, and is done again.

What clients hold the other ends of is packed, too: a reader that found the end of its fifo, because whoever
wrote to it was killed, would not come back. So whoever closes something of it says so at once
(`Stdio.kept_changed`).
"""

from __future__ import annotations

import os
import stat
from _socket import socket as _socket

from cloche.errors import ClocheError
from cloche.shim.stdio import uris as targets
from cloche.shim.stdio.logger import Logger
from cloche.shim.stdio.opener import Opener
from cloche.shim.stdio.opening import READY_S
from cloche.shim.stdio.process import DRAIN_S, Kept, Stdio
from cloche.shim.stdio.pump import unread
from cloche.shim.stdio.sinks import FifoSink, FileSink, NullSink, PipeSink
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.shim.holder import Packing, Unpacking
    from cloche.shim.loop import Loop
    from cloche.shim.stdio.logfile import LogFile
    from cloche.shim.stdio.opening import Uris
    from cloche.shim.stdio.pump import Sink


_SCREEN = "screen"


class Held(Record):
    """What else there may be of them.

    programs: those that log, in their order. sinks: where output goes, by "stdout", "stderr", "screen";
    None where they have to be opened again. input: what keeps a client's fifo; borrowed.
    """

    programs: list[Logger]
    sinks: dict[str, int] | None = None
    input: list[int] = []


def adopt_stdio(
    loop: Loop,
    uris: Uris,
    kept: Kept,
    *,
    container_id: str,
    namespace: str,
    drain_s: float = DRAIN_S,
    ready_s: float = READY_S,
    held: Held | None = None,
) -> Stdio:
    """Go on with the streams of a process whose shim has died. May be called from any thread.

    uris: what they were opened with. kept: its `Stdio.kept`, owned from now on; its console is attached.
    The others are as for open_stdio. A client that took its fifo away gets nothing any more, which is
    no error. A program that logs a terminal has ended with its shim, and is started again, but where it is
    held. held: what more there is; owned, but for the input.
    """
    environment = {"CONTAINER_ID": container_id, "CONTAINER_NAMESPACE": namespace}
    stdio = Stdio(loop, drain_s=drain_s)
    adopter = _Adopter(loop, stdio, kept, environment, ready_s, held or Held([]))
    adopter.open(uris.stdin, uris.stdout, uris.stderr, terminal=uris.terminal)
    loop.call_soon(stdio.begin)
    if kept.console >= 0:
        loop.call_soon(lambda: stdio.attach_console(kept.console))
    loop.call_soon(stdio.open_input)
    return stdio


class _Adopter(Opener):
    """Fills a Stdio with what was kept; the process has its own ends already."""

    def __init__(
        self,
        loop: Loop,
        stdio: Stdio,
        kept: Kept,
        environment: dict[str, str],
        ready_s: float,
        held: Held,
    ) -> None:
        super().__init__(loop, stdio, None, environment, ready_s)
        self._kept = kept
        self._held = held
        self._programs = list(held.programs)
        self._stream = "screen"
        self._loose = {end for end in kept.values() if end >= 0 and end != kept.console}
        stdio.kept = kept

    def _null(self) -> int:
        return -1

    def _pipe(self, stream: str) -> tuple[int, int]:
        end: int = getattr(self._kept, stream)
        if stream == "stdin":
            return -1, end
        if stream == "printed":
            writing = self._sink_held("screen")
            if writing < 0:
                writing = os.open(f"/proc/self/fd/{end}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._loose.add(writing)
            return end, writing
        return end, -1

    def _output(self, target: targets.Target, null: int, stream: str) -> int:
        self._stream = stream
        if target.scheme not in (targets.NULL, *targets.PROGRAMS) and getattr(self._kept, stream) < 0:
            return -1  # the process has closed it
        return super()._output(target, null, stream)

    def _sink_held(self, stream: str) -> int:
        return (self._held.sinks or {}).get(stream, -1)

    def _screen(self, stdout: targets.Target) -> Sink:
        if stdout.scheme in targets.PROGRAMS and (held := self._sink_held("screen")) >= 0:
            self._add_program()
            return PipeSink(held)
        return super()._screen(stdout)

    def _add_program(self) -> bool:
        if self._programs:
            self.stdio.add_logger(self._programs.pop(0))
            return True
        return False

    def _log_both(self, target: targets.Target, only: str = "") -> tuple[int, int]:
        """The program has gone on: it reads what the process writes."""
        if self._add_program():
            return -1, -1
        for stream in ("stdout", "stderr"):
            end: int = getattr(self._kept, stream)
            if end in self._loose and only in ("", stream):
                self._loose.discard(end)
                self.stdio.hold(end)
        return -1, -1

    def _log(self, target: targets.Target) -> LogFile | None:
        log = super()._log(target)
        if log is not None:
            log.mend()
        return log

    def _sink(self, target: targets.Target) -> Sink:
        if self._held.sinks is not None:
            return self._beside(_sink_of(self._sink_held(self._stream)))
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
        if self._held.input:
            return os.open(f"/proc/self/fd/{self._held.input[0]}", os.O_PATH | os.O_CLOEXEC)
        if self._held.sinks is not None:
            return -1
        try:
            return super()._fifo(target)
        except ClocheError:
            return -1


def _sink_of(descriptor: int) -> Sink:
    """The sink that had this descriptor."""
    if descriptor < 0:
        return NullSink()
    return FifoSink(descriptor) if stat.S_ISFIFO(os.fstat(descriptor).st_mode) else FileSink(descriptor)


def is_resting(stdio: Stdio) -> bool:
    """Whether nothing is half done: no output looked at and left, nobody attached, no end awaited."""
    audience = stdio.present
    return (
        not any(pump.sink.partial and not pump.over and unread(pump.source) for pump in stdio.outputs)
        and not any(logger.ended for logger in stdio.loggers)
        and not (stdio.input is not None and stdio.input.is_closing)
        and (audience is None or audience.is_quiet)
    )


def pack(stdio: Stdio, packing: Packing) -> dict[str, Any]:
    """All of it, as it is when it rests."""
    programs = [
        [
            logger.process[0],
            packing.put(logger.process[1]),
            [packing.put(each) for each in logger.readers],
        ]
        for logger in stdio.loggers
        if not logger.ended
    ]
    present = stdio.present
    read = {each for logger in stdio.loggers for each in logger.readers}
    return {
        "kept": [packing.put(end) if end not in read else -1 for end in _living(stdio).values()],
        "programs": programs,
        "sinks": {name: packing.put(end) for name, end in _sinks(stdio).items()},
        "input": [packing.put(end) for end in (stdio.input.held if stdio.input else ())],
        "attach": [packing.put(present.listener), present.input_ends] if present else [-1, False],
    }


def _living(stdio: Stdio) -> Kept:
    """What is kept, without what has been closed since: a process may close its output, or read no more."""
    sources = {pump.source for pump in stdio.outputs if not pump.over} | set(stdio.idle)
    sources |= {each for logger in stdio.loggers for each in logger.readers}
    targets = {stdio.input.target if stdio.input else -1, stdio.present.target if stdio.present else -1}
    kept = stdio.kept
    ends = {name: getattr(kept, name) for name in ("stdout", "stderr", "console", "printed")}
    ends = {name: end if end in sources else -1 for name, end in ends.items()}
    return Kept(stdin=kept.stdin if kept.stdin in targets | set(stdio.idle) else -1, **ends)


def _sinks(stdio: Stdio) -> dict[str, int]:
    """Where output goes, by stream; -1 for logs, which are opened again, and for nowhere."""
    names = {stdio.kept.stdout: "stdout", stdio.kept.stderr: "stderr", stdio.kept.console: _SCREEN}
    return {
        names[pump.source]: getattr(pump.sink, "file", pump.sink.descriptor)
        for pump in stdio.outputs
        if not pump.over and pump.source in names
    }


def unpack(
    loop: Loop,
    packed: dict[str, Any],
    uris: Uris,
    unpacking: Unpacking,
    *,
    container_id: str,
    namespace: str,
    hold_s: float,
) -> Stdio:
    """Go on with what was packed. hold_s: how long output waits for somebody who may attach again."""
    programs = [
        Logger.adopt(loop, "", pid, unpacking.take(handle), [unpacking.take(each) for each in readers])
        for pid, handle, readers in packed["programs"]
    ]
    kept = Kept(*(unpacking.take(place) for place in packed["kept"]))
    held = Held(
        programs,
        {name: unpacking.take(place) for name, place in packed["sinks"].items()},
        [unpacking.take(place) for place in packed["input"]],
    )
    stdio = adopt_stdio(loop, uris, kept, container_id=container_id, namespace=namespace, held=held)
    # They are open again by then: not for a moment does the fifo lose what is in it.
    loop.call_soon(lambda: _close(held.input))
    place, input_ends = packed["attach"]
    listener = unpacking.take(place)
    if listener >= 0:
        stdio.serve_attach(_socket(fileno=listener), input_ends=input_ends, hold_s=hold_s)
    return stdio


def _close(descriptors: list[int]) -> None:
    for each in descriptors:
        os.close(each)
