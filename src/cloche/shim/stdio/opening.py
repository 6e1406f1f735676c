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
from cloche.shim.stdio.input import open_fifo, open_input_file
from cloche.shim.stdio.process import DRAIN_S, Stdio
from cloche.shim.stdio.sinks import NullSink, PipeSink, open_file, open_path
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.shim.loop import Loop
    from cloche.shim.stdio.logfile import LogFile
    from cloche.shim.stdio.logger import Logger
    from cloche.shim.stdio.pump import Sink

# How long a logging program may take to get ready. containerd waits for ever.
READY_S = 30.0

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
    FailedPrecondition or DeadlineExceeded for what cannot be opened; OSError when there are no
    descriptors left. Then nothing is left.
    """
    environment = {"CONTAINER_ID": container_id, "CONTAINER_NAMESPACE": namespace}
    stdio = Stdio(loop, drain_s=drain_s)
    opener = _Opener(loop, stdio, owner, environment, ready_s)
    try:
        opener.open(uris)
    except BaseException:
        loop.call_soon(stdio.close)
        raise
    finally:
        opener.close()
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
        self._logs: dict[targets.Target, LogFile] = {}
        self._loose: set[int] = set()

    def open(self, uris: Uris) -> None:
        # All is understood before anything is touched.
        stdin, stdout = _input_target(uris.stdin), targets.parse(uris.stdout)
        stderr = targets.parse("" if uris.terminal else uris.stderr)
        if uris.terminal:
            self._open_terminal(stdin, stdout)
        else:
            self._open_pipes(stdin, stdout, stderr)

    def close(self) -> None:
        """Close what was not needed, or did not get as far as the Stdio."""
        for descriptor in self._loose:
            os.close(descriptor)

    def _pipe(self) -> tuple[int, int]:
        """Both ends; what is done with them takes them out of `_loose`."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        self._loose |= {reading, writing}
        if self._owner is not None:
            os.fchown(writing, *self._owner)
        return reading, writing

    def _lend(self, descriptor: int) -> int:
        self._loose.discard(descriptor)
        self._stdio.lend(descriptor)
        return descriptor

    def _open_terminal(self, stdin: targets.Target, stdout: targets.Target) -> None:
        null = self._null()
        self._stdio.child = (null, null, null)
        screen = self._screen(stdout)
        try:
            typed = open_fifo(stdin.path) if stdin.path else (-1, -1)
        except BaseException:
            screen.close()
            raise
        self._stdio.expect_console(screen, typed)
        if stdin.scheme == targets.ATTACH:
            self._stdio.add_attached_input(-1)

    def _screen(self, stdout: targets.Target) -> Sink:
        """Where a terminal's output goes."""
        if stdout.scheme in targets.PROGRAMS:
            logger = self._logger(stdout)
            logger.release()
            out, err = logger.take_writers()
            # A terminal has no stderr: the program finds its end there at once.
            os.close(err)
            return PipeSink(out)
        if stdout.scheme in targets.LOGS:
            # What is looked at before it is taken must be in a pipe.
            reading, writing = self._pipe()
            self._stdio.add_recorded(reading, "stdout", self._log(stdout))
            self._loose -= {reading, writing}
            return PipeSink(writing)
        return self._sink(stdout)

    def _open_pipes(self, stdin: targets.Target, stdout: targets.Target, stderr: targets.Target) -> None:
        null = self._null()
        if stdout.scheme in targets.PROGRAMS and stderr in (stdout, targets.Target()):
            out, err = self._log_both(stdout)
        else:
            out, err = self._output(stdout, null, 0), self._output(stderr, null, 1)
        self._stdio.child = (self._input(stdin, null), out, err)

    def _null(self) -> int:
        return self._lend(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))

    def _logger(self, target: targets.Target) -> Logger:
        from cloche.shim.stdio.logger import Logger

        logger = Logger(self._loop, target, self._environment, ready_s=self._ready_s)
        self._stdio.add_logger(logger)
        return logger

    def _log_both(self, target: targets.Target) -> tuple[int, int]:
        """Both ends that the process gets of a program."""
        ends = self._logger(target).take_writers()
        for end in ends:
            self._lend(end)
            if self._owner is not None:
                os.fchown(end, *self._owner)
        return ends

    def _output(self, target: targets.Target, null: int, place: int) -> int:
        """The end of one stream that the process gets. place: 0 for stdout, 1 for stderr."""
        if target.scheme == targets.NULL:
            return null
        if target.scheme in targets.PROGRAMS:
            # The program finds the end of the other stream when all of the process's ends are closed.
            return self._log_both(target)[place]
        reading, writing = self._pipe()
        if target.scheme in targets.LOGS:
            self._stdio.add_recorded(reading, ("stdout", "stderr")[place], self._log(target))
        else:
            self._stdio.add_output(reading, self._sink(target))
        self._loose.discard(reading)
        return self._lend(writing)

    def _log(self, target: targets.Target) -> LogFile | None:
        """The log of an URI; both streams may name the same."""
        if target.scheme == targets.ATTACH:
            return None
        from cloche.shim.stdio.logfile import open_log

        if target not in self._logs:
            self._logs[target] = open_log(target)
            self._stdio.add_log(self._logs[target])
        return self._logs[target]

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
        reading, writing = self._pipe()
        if target.scheme == targets.ATTACH:
            self._stdio.add_attached_input(writing)
        elif (ends := open_fifo(target.path))[0] >= 0:
            self._stdio.add_input(ends, PipeSink(writing))
        else:
            # A file: the process may well read it by itself.
            return self._lend(open_input_file(target.path))
        self._loose.discard(writing)
        return self._lend(reading)


def _input_target(uri: str) -> targets.Target:
    target = targets.parse(uri)
    if target.scheme not in (targets.NULL, targets.FIFO, targets.ATTACH):
        raise InvalidArgument(f"stdin {uri!r}: input comes from a fifo, from attach://, or from nowhere")
    return target
