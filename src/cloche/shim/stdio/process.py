"""The streams of one process, from its creation to the last byte it left behind."""

from __future__ import annotations

import os

from cloche.errors import FailedPrecondition
from cloche.shim.stdio.console import ConsoleSink, resize
from cloche.shim.stdio.input import Input
from cloche.shim.stdio.pump import Pump
from cloche.shim.stdio.sinks import NullSink
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from cloche.shim.loop import Loop, Timer
    from cloche.shim.stdio.audience import Audience
    from cloche.shim.stdio.logfile import LogFile
    from cloche.shim.stdio.logger import Logger
    from cloche.shim.stdio.pump import Sink

# How long descendants of an ended process may keep its output open; containerd's number.
DRAIN_S = 10.0
# How long a program may go on after its terminal's input was closed.
_HANG_UP_S = 1.0
# How long after its creation a process's input is opened at the latest.
_INPUT_S = 0.05
# How often to look for a reader of what is left, at first and in the long run.
_FIRST_LOOK_S, _LAST_LOOK_S = 0.002, 1.0


class Kept(Record):
    """What of a process's streams outlives its shim in other hands, for the next shim to go on with.

    stdin: the writing end, -1 after CloseIO. stdout, stderr: the reading ends. console: the pty's
    master. printed: the reading end of a pipe between a terminal and its log. -1 for what there is not.
    """

    stdin: int = -1
    stdout: int = -1
    stderr: int = -1
    console: int = -1
    printed: int = -1


class Stdio:
    """Opened by `opening.open_stdio`. Every method belongs to the loop's thread.

    child: what the process gets as its descriptors 0, 1 and 2; borrowed, valid until `close_child`.
    A process with a terminal of its own gets that instead, and `attach_console` its master.
    kept: what another process may hold copies of, so that the death of this one loses nothing; valid
    until `finish`. The copy of stdin is to be closed with `close_stdin`, when `kept_changed` is called.
    outputs, input, loggers, idle, present: what it consists of, for `adopting`; present is its audience.
    """

    def __init__(self, loop: Loop, *, drain_s: float = DRAIN_S) -> None:
        self.child: tuple[int, int, int] = (-1, -1, -1)
        self.kept = Kept()
        self.kept_changed: Callable[[], None] = _nothing
        self._loop = loop
        self._drain_s = drain_s
        self._theirs: set[int] = set()
        self.idle: list[int] = []
        self.outputs: list[Pump] = []
        self.input: Input | None = None
        self._typed = -1
        self._screen: Sink | None = None
        self.loggers: list[Logger] = []
        self._logs: list[LogFile] = []
        self.present: Audience | None = None
        self._attached_type = False
        self._console = -1
        self._timers: list[Timer] = []
        self._done: Callable[[], None] | None = None
        self._read: Callable[[], None] | None = None
        self._look: Timer | None = None
        self._closed = False

    def lend(self, descriptor: int) -> None:
        """The process gets this descriptor; our copy is closed by `close_child`."""
        self._theirs.add(descriptor)

    def hold(self, reading: int) -> None:
        """Keep a pipe open, so that its writer gets no SIGPIPE; somebody else reads it."""
        self.idle.append(reading)

    def add_output(self, reading: int, sink: Sink) -> None:
        """What comes out of a pipe goes to a sink; into nothing when the sink breaks."""
        self.outputs.append(self._pump(reading, sink, self._ask))

    def _pump(self, source: int, sink: Sink, ended: Callable[[], None]) -> Pump:
        pump = Pump(self._loop, source, sink, instead=NullSink, ended=ended)
        if sink.descriptor < 0:
            sink.resume = pump.resume
        return pump

    def add_input(self, fifo: int, sink: Sink) -> None:
        """What comes through a client's fifo (of `input.find_fifo`) goes to the process."""
        self.input = Input(self._loop, fifo, sink, ended=self._input_closed)

    def add_logger(self, logger: Logger) -> None:
        """A program reads the output; its end belongs to the end of the streams."""
        self.loggers.append(logger)

    def add_log(self, log: LogFile) -> None:
        """A log of ours; closed with the streams."""
        self._logs.append(log)

    @property
    def audience(self) -> Audience:
        """Who is attached; there may be some from now on."""
        if self.present is None:
            from cloche.shim.stdio.audience import Audience

            self.present = Audience(self._loop)
            self.present.input_closed = self._input_closed
        return self.present

    def add_recorded(self, reading: int, stream: str, log: LogFile | None) -> None:
        """What comes out of a pipe goes to a log, and to those who are attached."""
        from cloche.shim.stdio.recorded import RecordedSink

        sink = RecordedSink(self._loop, stream, log, self.audience)
        pump = self._pump(reading, sink, self._ask)
        self.audience.pumps.append(pump.resume)
        self.outputs.append(pump)

    def add_attached_input(self, writing: int) -> None:
        """What those who are attached type goes to the process; -1: to its terminal."""
        self._attached_type = True
        if writing >= 0:
            self.audience.take_input_to(writing)

    def expect_console(self, screen: Sink, typed: int) -> None:
        """There will be a terminal. typed: a client's fifo (of `input.find_fifo`), or -1."""
        self._screen, self._typed = screen, typed

    def begin(self) -> None:
        """Move what comes."""
        if not self._closed:
            for logger in self.loggers:
                logger.watch(self._ask)
            self._move()

    def _move(self) -> None:
        for pump in self.outputs:
            pump.start()

    def open_input(self) -> None:
        """Let clients write: the process runs, and they have been told so. See `Input`."""
        if self.input is not None:
            self.input.open()

    def close_child(self) -> None:
        """Close our copies of `child`, once the process has its own. A little later input is opened."""
        if self.input is not None:
            self.input.open_later(_INPUT_S)
        for descriptor in self._theirs:
            os.close(descriptor)
        self._theirs.clear()
        self.child = (-1, -1, -1)

    def attach_console(self, master: int) -> None:
        """Move what is typed and printed. master: of the process's pty; owned from now on.

        Raises OSError when there are no descriptors left.
        """
        if self._closed or self._screen is None:
            os.close(master)
            return
        try:
            self._connect_keyboard(master)
        except OSError:
            os.close(master)
            raise
        self._console = master
        self.kept = self.kept.replace(console=master)
        screen, self._screen = self._screen, None
        # First, since what is recorded comes out of it.
        self.outputs.insert(0, self._pump(master, screen, self._hung_up))
        self._move()

    def _connect_keyboard(self, master: int) -> None:
        if self._typed >= 0:
            keyboard = ConsoleSink(os.dup(master))
            self.input = Input(self._loop, self._typed, keyboard, ended=self._typed_all)
            self.input.open_later(_INPUT_S)
            self._typed = -1
        elif self.present is not None:
            if self._attached_type:
                self.present.take_input_to(os.dup(master))
            self.present.console = master

    def _typed_all(self) -> None:
        # As under containerd a terminal without input is hung up, but not before its reader saw the end.
        self._timers.append(self._loop.call_later(_HANG_UP_S, self._hang_up))

    def _hang_up(self) -> None:
        for pump in self.outputs:
            if not pump.drain():
                pump.end()

    def _input_closed(self) -> None:
        self.kept = self.kept.replace(stdin=-1)
        self.kept_changed()

    def _hung_up(self) -> None:
        self._console = -1
        self.kept = self.kept.replace(console=-1)
        self.kept_changed()
        if self.present is not None:
            self.present.console = -1
        self._ask()

    def resize(self, width: int, height: int) -> None:
        """Set the terminal's size in characters; nothing happens where there is no terminal."""
        if self._console >= 0:
            resize(self._console, width, height)

    def close_stdin(self) -> None:
        """The process reads an end of file behind what was written before."""
        self._input_closed()
        if self.input is not None:
            self.input.close_soon()
        if self.present is not None:
            self.present.feed_end()

    @property
    def is_attachable(self) -> bool:
        """Whether clients can attach now."""
        return self.present is not None and self.present.listener >= 0

    def serve_attach(self, listener: socket, *, input_ends: bool = False, hold_s: float = 0) -> None:
        """Let clients attach through a listening socket, by `cloche.shim.frames`.

        listener: owned from now on. input_ends: whether the end of a client's input is the process's.
        hold_s: output waits so many seconds for the first one. Raises FailedPrecondition where output
        goes to others: fifos, files and logging programs have no audience.
        """
        if self.present is None:
            listener.close()
            raise FailedPrecondition("nobody can attach: output goes to json-file://, cri:// or attach://")
        self.present.serve(listener, input_ends=input_ends, hold_s=hold_s)
        self.kept_changed()

    def tell_exit(self, code: int) -> None:
        """After `finish`: tell those who are attached, and who still come until `close`."""
        if self.present is not None:
            self.present.tell_exit(code)

    def reopen_logs(self) -> None:
        """Go on in new files: the old ones were renamed. Raises FailedPrecondition, and keeps those."""
        for log in self._logs:
            if log.lane is None:
                log.reopen()
            else:
                log.lane.run(log.reopen, _ignored)

    def finish(self, done: Callable[[], None]) -> None:
        """The process has ended: hand on what it left, then done() from the loop, once.

        A reader that does not read is not waited for: what it was to get stays in its fifo until
        `close`. Descendants that keep the output open have drain_s seconds to end.
        """
        if self._closed:
            self._loop.call_soon(done)
            return
        self._done = done
        self.kept = Kept()
        self.close_child()
        self._close_input()
        for pump in self.outputs:
            pump.drain()
        self._timers.append(self._loop.call_later(self._drain_s, self._cut))
        self._ask()

    def _ask(self) -> None:
        """Whether all is over; and something of it has ended."""
        self.kept_changed()
        over = all(pump.over for pump in self.outputs) and all(each.ended for each in self.loggers)
        if self._done is not None and over:
            done, self._done = self._done, None
            self._cancel_timers()
            self._close_logs()
            self._let_go()
            self._await_readers(_FIRST_LOOK_S)
            self._loop.call_soon(done)

    def _await_readers(self, delay_s: float) -> None:
        """Look, less and less often, whether somebody came for what was left in a fifo.

        No event tells of a reader: epoll says nothing to a writer when one opens the fifo.
        """
        if all(_settled(pump.sink) for pump in self.outputs):
            if self._read is not None:
                read, self._read = self._read, None
                read()
            return
        later = min(delay_s * 2, _LAST_LOOK_S)
        self._look = self._loop.call_later(delay_s, lambda: self._await_readers(later))

    def when_read(self, done: Callable[[], None], *, patience_s: float) -> None:
        """After `finish`: done() when readers have come for all that was left, at once or in patience_s.

        A client that is told of an end within milliseconds may not yet have opened its fifos.
        """
        self._read = done
        self._cancel_timers()
        if not all(_settled(pump.sink) for pump in self.outputs):
            self._timers.append(self._loop.call_later(patience_s, self._stop_waiting))
        self._await_readers(_FIRST_LOOK_S)

    def _stop_waiting(self) -> None:
        if self._read is not None:
            read, self._read = self._read, None
            read()

    def _let_go(self) -> None:
        for descriptor in self.idle:
            os.close(descriptor)
        self.idle.clear()

    def _close_logs(self) -> None:
        for log in self._logs:
            if log.lane is None:
                log.close()
            else:
                log.lane.run(log.close, _ignored)
        self._logs.clear()

    def _cut(self) -> None:
        if self.present is not None:
            self.present.abandon()
        for pump in self.outputs:
            pump.drain()
            pump.end()
        for logger in self.loggers:
            logger.stop()

    def _close_input(self) -> None:
        if self.input is not None:
            self.input.close()
            self.input = None
        if self._typed >= 0:
            os.close(self._typed)
            self._typed = -1
        if self.present is not None:
            self.present.close_input()

    def _cancel_timers(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def close(self) -> None:
        """Let go of everything at once; what a `finish` under way was to call is not called."""
        self._closed = True
        self._done = self._read = None
        self._cancel_timers()
        self.close_child()
        self._close_input()
        if self._screen is not None:
            self._screen.close()
            self._screen = None
        for pump in self.outputs:
            pump.close()
        self.outputs.clear()
        for logger in self.loggers:
            logger.close()
        self.loggers.clear()
        self._let_go()
        self._close_logs()
        if self.present is not None:
            self.present.close()


def _settled(sink: Sink) -> bool:
    """Whether a sink whose end has come has nothing left that its reader has yet to come for."""
    settle = getattr(sink, "settle", None)
    return settle is None or bool(settle())


def _ignored(_result: object, _error: BaseException | None) -> None:
    """What came of a call that may hang is not waited for."""


def _nothing() -> None:
    """Input that is over needs nothing more."""
