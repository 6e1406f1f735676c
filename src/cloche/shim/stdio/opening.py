"""A process's standard streams, opened as a client wishes.

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
from cloche.shim.stdio.input import open_fifo
from cloche.shim.stdio.logger import READY_S, Logger
from cloche.shim.stdio.process import DRAIN_S, Stdio
from cloche.shim.stdio.sinks import NullSink, PipeSink, open_file, open_path
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.shim.loop import Loop
    from cloche.shim.stdio.pump import Sink

__all__ = ["Stdio", "Uris", "open_stdio"]


class Uris(Record):
    """Where stdin comes from and output goes, as in CreateTaskRequest; a terminal has no stderr."""

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False


def open_stdio(
    loop: Loop,
    uris: Uris,
    *,
    container_id: str,
    namespace: str,
    owner: tuple[int, int] | None = None,
    drain_s: float = DRAIN_S,
    ready_s: float = READY_S,
) -> Stdio:
    """Open what the URIs name. May be called from any thread.

    container_id, namespace: what a logging program is told. owner: uid and gid that own the pipes of
    the process; None leaves them to this process's user. drain_s: see Stdio.finish. ready_s: how long
    a logging program may take to get ready, which this call waits for; nothing else makes it wait.
    Raises InvalidArgument for a URI that makes no sense; NotFound, PermissionDenied,
    FailedPrecondition or DeadlineExceeded for what cannot be opened. Then nothing is left.
    """
    environment = {"CONTAINER_ID": container_id, "CONTAINER_NAMESPACE": namespace}
    stdio = Stdio(loop, drain_s=drain_s)
    try:
        _Opener(loop, stdio, owner, environment, ready_s).open(uris)
    except BaseException:
        loop.call_soon(stdio.close)
        raise
    loop.call_soon(stdio.begin)
    return stdio


class _Opener:
    """Fills a Stdio; who calls closes it when that fails."""

    def __init__(
        self,
        loop: Loop,
        stdio: Stdio,
        owner: tuple[int, int] | None,
        environment: dict[str, str],
        ready_s: float,
    ) -> None:
        self._loop = loop
        self._stdio = stdio
        self._owner = owner
        self._environment = environment
        self._ready_s = ready_s

    def open(self, uris: Uris) -> None:
        # All is understood before anything is touched.
        stdin, stdout = _input_target(uris.stdin), targets.parse(uris.stdout)
        stderr = targets.parse("" if uris.terminal else uris.stderr)
        if uris.terminal:
            self._open_terminal(stdin, stdout)
        else:
            self._open_pipes(stdin, stdout, stderr)

    def _open_terminal(self, stdin: targets.Target, stdout: targets.Target) -> None:
        null = self._null()
        self._stdio.child = (null, null, null)
        if stdout.scheme in targets.PROGRAMS:
            logger = self._logger(stdout)
            logger.release()
            out, err = logger.take_writers()
            # A terminal has no stderr: the program finds its end there at once.
            os.close(err)
            screen: Sink = PipeSink(out)
        else:
            screen = self._sink(stdout)
        typed = open_fifo(stdin.path) if stdin.path else (-1, -1)
        self._stdio.expect_console(screen, typed)

    def _open_pipes(self, stdin: targets.Target, stdout: targets.Target, stderr: targets.Target) -> None:
        null = self._null()
        if stdout.scheme in targets.PROGRAMS and stderr in (stdout, targets.Target()):
            out, err = self._logger(stdout).take_writers()
            self._stdio.lend(out)
            self._stdio.lend(err)
            self._own(out)
            self._own(err)
        else:
            out, err = self._output(stdout, null, 0), self._output(stderr, null, 1)
        self._stdio.child = (self._input(stdin, null), out, err)

    def _null(self) -> int:
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self._stdio.lend(null)
        return null

    def _logger(self, target: targets.Target) -> Logger:
        logger = Logger(self._loop, target, self._environment, ready_s=self._ready_s)
        self._stdio.add_logger(logger)
        return logger

    def _output(self, target: targets.Target, null: int, place: int) -> int:
        """The end of one stream that the process gets. place: 0 for stdout, 1 for stderr."""
        if target.scheme == targets.NULL:
            return null
        if target.scheme in targets.PROGRAMS:
            ends = self._logger(target).take_writers()
            os.close(ends[1 - place])
            self._stdio.lend(ends[place])
            self._own(ends[place])
            return ends[place]
        sink = self._sink(target)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        self._stdio.lend(writing)
        self._stdio.add_output(reading, sink)
        self._own(writing)
        return writing

    def _sink(self, target: targets.Target) -> Sink:
        if target.scheme == targets.FIFO:
            return open_path(target.path)
        if target.scheme == targets.FILE:
            return open_file(target.path)
        return NullSink()

    def _input(self, target: targets.Target, null: int) -> int:
        """The end of stdin that the process gets."""
        if target.scheme == targets.NULL:
            return null
        ends = open_fifo(target.path)
        if ends[0] < 0:
            # A file: the process may well read it by itself.
            file = os.open(target.path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._stdio.lend(file)
            os.set_blocking(file, True)
            return file
        reading, writing = os.pipe2(os.O_CLOEXEC)
        self._stdio.lend(reading)
        self._stdio.add_input(ends, PipeSink(writing))
        self._own(reading)
        return reading

    def _own(self, pipe: int) -> None:
        if self._owner is not None:
            os.fchown(pipe, *self._owner)


def _input_target(uri: str) -> targets.Target:
    target = targets.parse(uri)
    if target.scheme not in (targets.NULL, targets.FIFO):
        raise InvalidArgument(f"stdin {uri!r}: input comes from a fifo, or from nowhere")
    return target
