"""A process's standard streams, opened as a client wishes and moved while the process runs.

open_stdio      what the URIs name is opened, which waits for no client
(create)        the process gets `child`, or a terminal of its own
close_child     · attach_console     output and input move in the loop
finish          what the process left is handed on, and then everything is closed
close           nothing more is kept for a late reader
"""

from __future__ import annotations

import os

from cloche.errors import InvalidArgument
from cloche.shim.stdio import uris as targets
from cloche.shim.stdio.console import ConsoleSink, resize
from cloche.shim.stdio.input import Input, open_fifo
from cloche.shim.stdio.pump import Pump
from cloche.shim.stdio.sinks import NullSink, PipeSink, open_file, open_path
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.shim.loop import Loop, Timer
    from cloche.shim.stdio.pump import Sink

# How long descendants of an ended process may keep its output open; containerd's number.
DRAIN_S = 10.0
# How long a program may go on after its terminal's input was closed.
_HANG_UP_S = 1.0


class Uris(Record):
    """Where stdin comes from and output goes, as in CreateTaskRequest; a terminal has no stderr."""

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False


class Stdio:
    """See the module. Every method belongs to the loop's thread."""

    def __init__(self, loop: Loop, *, drain_s: float = DRAIN_S) -> None:
        self.child: tuple[int, int, int] = (-1, -1, -1)
        self._loop = loop
        self._drain_s = drain_s
        self._theirs: set[int] = set()
        self._outputs: list[Pump] = []
        self._input: Input | None = None
        self._typed: tuple[int, int] = (-1, -1)
        self._screen: Sink | None = None
        self._console = -1
        self._timers: list[Timer] = []
        self._done: Callable[[], None] | None = None
        self._closed = False

    def begin(self) -> None:
        """Move what comes."""
        if not self._closed:
            for pump in self._outputs:
                pump.start()
            if self._input is not None:
                self._input.pump.start()

    def close_child(self) -> None:
        """Close our copies of `child`, once the process has its own."""
        for descriptor in self._theirs:
            os.close(descriptor)
        self._theirs.clear()
        self.child = (-1, -1, -1)

    def attach_console(self, master: int) -> None:
        """Move what is typed and printed. master: of the process's pty; owned from now on."""
        if self._closed or self._screen is None:
            os.close(master)
            return
        self._console = master
        screen, self._screen = self._screen, None
        if self._typed[0] >= 0:
            keyboard = ConsoleSink(os.dup(master))
            self._input = Input(self._loop, self._typed, keyboard, ended=self._typed_all)
            self._typed = (-1, -1)
        self._outputs.append(Pump(self._loop, master, screen, instead=NullSink, ended=self._hung_up))
        self.begin()

    def _typed_all(self) -> None:
        # As under containerd a terminal without input is hung up, but not before its reader saw the end.
        self._timers.append(self._loop.call_later(_HANG_UP_S, self._hang_up))

    def _hang_up(self) -> None:
        for pump in self._outputs:
            if not pump.drain():
                pump.end()

    def _hung_up(self) -> None:
        self._console = -1
        self._ask()

    def resize(self, width: int, height: int) -> None:
        """Set the terminal's size in characters; nothing happens where there is no terminal."""
        if self._console >= 0:
            resize(self._console, width, height)

    def close_stdin(self) -> None:
        """The process reads an end of file behind what was written before."""
        if self._input is not None:
            self._input.close_soon()

    def finish(self, done: Callable[[], None]) -> None:
        """The process has ended: hand on what it left, then done() from the loop, once.

        A reader that does not read is not waited for: what it was to get stays in its fifo until
        `close`. Descendants that keep the output open have drain_s seconds to end.
        """
        if self._closed:
            self._loop.call_soon(done)
            return
        self._done = done
        self.close_child()
        self._close_input()
        for pump in self._outputs:
            pump.drain()
        self._timers.append(self._loop.call_later(self._drain_s, self._cut))
        self._ask()

    def _ask(self) -> None:
        """Whether all is over."""
        if self._done is not None and all(pump.over for pump in self._outputs):
            done, self._done = self._done, None
            self._cancel_timers()
            self._loop.call_soon(done)

    def _cut(self) -> None:
        for pump in self._outputs:
            pump.drain()
            pump.end()

    def _close_input(self) -> None:
        if self._input is not None:
            self._input.close()
            self._input = None
        for descriptor in self._typed:
            if descriptor >= 0:
                os.close(descriptor)
        self._typed = (-1, -1)

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def close(self) -> None:
        """Let go of everything at once; what a `finish` under way was to call is not called."""
        self._closed = True
        self._done = None
        self._cancel_timers()
        self.close_child()
        self._close_input()
        if self._screen is not None:
            self._screen.close()
            self._screen = None
        for pump in self._outputs:
            pump.close()
        self._outputs.clear()


def open_stdio(
    loop: Loop,
    uris: Uris,
    *,
    container_id: str,
    namespace: str,
    owner: tuple[int, int] | None = None,
    drain_s: float = DRAIN_S,
) -> Stdio:
    """Open what the URIs name. May be called from any thread.

    owner: uid and gid that own the pipes of the process; None leaves them to this process's user.
    Raises InvalidArgument for a URI that makes no sense, NotFound, PermissionDenied or
    FailedPrecondition for what cannot be opened; then nothing is left open.
    """
    stdio = Stdio(loop, drain_s=drain_s)
    try:
        Opener(loop, stdio, uris, owner).open()
    except BaseException:
        stdio.close()
        raise
    loop.call_soon(stdio.begin)
    return stdio


class Opener:
    """Fills a Stdio."""

    def __init__(self, loop: Loop, stdio: Stdio, uris: Uris, owner: tuple[int, int] | None) -> None:
        self._loop = loop
        self._stdio = stdio
        self._uris = uris
        self._owner = owner

    def open(self) -> None:
        """Open all of it; who calls closes the Stdio when it fails."""
        stdio, uris = self._stdio, self._uris
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        stdio._theirs.add(null)
        stdio.child = (null, null, null)
        if uris.terminal:
            stdio._screen = self._sink(uris.stdout)
            stdio._typed = self._typed()
        else:
            out, err = self._output(uris.stdout), self._output(uris.stderr)
            stdio.child = (self._stdin(), null if out < 0 else out, null if err < 0 else err)

    def _sink(self, uri: str) -> Sink:
        target = targets.parse(uri)
        if target.scheme == targets.NULL:
            return NullSink()
        if target.scheme == targets.FIFO:
            return open_path(target.path)
        if target.scheme == targets.FILE:
            return open_file(target.path)
        raise InvalidArgument(f"stdio {uri!r}: not here")

    def _output(self, uri: str) -> int:
        """The end that the process gets; -1 for none."""
        if not uri:
            return -1
        sink = self._sink(uri)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        self._stdio._theirs.add(writing)
        self._stdio._outputs.append(Pump(self._loop, reading, sink, instead=NullSink, ended=self._stdio._ask))
        self._own(writing)
        return writing

    def _typed(self) -> tuple[int, int]:
        target = self._input_target()
        return open_fifo(target.path) if target.path else (-1, -1)

    def _stdin(self) -> int:
        target = self._input_target()
        if not target.path:
            return self._stdio.child[0]
        ends = open_fifo(target.path)
        if ends[0] < 0:
            return self._file(target.path)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        self._stdio._theirs.add(reading)
        self._stdio._input = Input(self._loop, ends, PipeSink(writing), ended=_nothing)
        self._own(reading)
        return reading

    def _input_target(self) -> targets.Target:
        target = targets.parse(self._uris.stdin)
        if target.scheme not in (targets.NULL, targets.FIFO):
            raise InvalidArgument(f"stdin {self._uris.stdin!r}: only a fifo can be one")
        return target

    def _file(self, path: str) -> int:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
        self._stdio._theirs.add(descriptor)
        return descriptor

    def _own(self, pipe: int) -> None:
        if self._owner is not None:
            os.fchown(pipe, *self._owner)


def _nothing() -> None:
    """Input that is over needs nothing more."""
