"""What a process's streams are made of, put together from its URIs."""

from __future__ import annotations

import os

from cloche.errors import InvalidArgument
from cloche.shim.lanes import Lane
from cloche.shim.stdio import uris as targets
from cloche.shim.stdio.input import find_fifo, open_input_file
from cloche.shim.stdio.sinks import FileSink, NullSink, PipeSink, open_file, open_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.shim.loop import Loop
    from cloche.shim.stdio.logfile import LogFile
    from cloche.shim.stdio.logger import Logger
    from cloche.shim.stdio.process import Stdio
    from cloche.shim.stdio.pump import Sink


class Opener:
    """Fills a Stdio. Runs in any thread, before anybody else knows of the Stdio."""

    def __init__(
        self,
        loop: Loop,
        stdio: Stdio,
        owner: tuple[int, int] | None,
        environment: dict[str, str],
        ready_s: float,
    ) -> None:
        self.loop = loop
        self.stdio = stdio
        # The pipes are this process's user's in any case.
        self._owner = None if owner == (os.geteuid(), os.getegid()) else owner
        self._environment = environment
        self._ready_s = ready_s
        self._logs: dict[targets.Target, LogFile] = {}
        self._loose: set[int] = set()

    def open(self, stdin: str, stdout: str, stderr: str, *, terminal: bool) -> None:
        """Open what the URIs name; when that fails, nothing is left. Raises as open_stdio does."""
        try:
            # All is understood before anything is touched.
            parts = _input_target(stdin), targets.parse(stdout), targets.parse("" if terminal else stderr)
            if terminal:
                self._open_terminal(parts[0], parts[1])
            else:
                self._open_pipes(*parts)
        except BaseException:
            self.loop.call_soon(self.stdio.close)
            raise
        finally:
            # What was not needed, or did not get as far as the Stdio.
            for descriptor in self._loose:
                os.close(descriptor)

    def _pipe(self, stream: str) -> tuple[int, int]:
        """Both ends of a pipe for a stream. What is done with them takes them out of `_loose`."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        self._loose |= {reading, writing}
        if self._owner is not None:
            os.fchown(writing, *self._owner)
        self._keep(stream, writing if stream == "stdin" else reading)
        return reading, writing

    def _keep(self, stream: str, end: int) -> None:
        self.stdio.kept = self.stdio.kept.replace(**{stream: end})

    def _lend(self, descriptor: int) -> int:
        if descriptor >= 0:
            self._loose.discard(descriptor)
            self.stdio.lend(descriptor)
        return descriptor

    def _open_terminal(self, stdin: targets.Target, stdout: targets.Target) -> None:
        null = self._null()
        self.stdio.child = (null, null, null)
        screen = self._screen(stdout)
        try:
            typed = self._fifo(stdin) if stdin.path else -1
        except BaseException:
            screen.close()
            raise
        self.stdio.expect_console(screen, typed)
        if stdin.scheme == targets.ATTACH:
            self.stdio.add_attached_input(-1)

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
            reading, writing = self._pipe("printed")
            self.stdio.add_recorded(reading, "stdout", self._log(stdout))
            self._loose -= {reading, writing}
            return PipeSink(writing)
        return self._sink(stdout)

    def _open_pipes(self, stdin: targets.Target, stdout: targets.Target, stderr: targets.Target) -> None:
        null = self._null()
        if stdout.scheme in targets.PROGRAMS and stderr in (stdout, targets.Target()):
            out, err = self._log_both(stdout)
        else:
            out, err = self._output(stdout, null, "stdout"), self._output(stderr, null, "stderr")
        self.stdio.child = (self._input(stdin, null), out, err)

    def _null(self) -> int:
        return self._lend(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))

    def _logger(self, target: targets.Target) -> Logger:
        from cloche.shim.stdio.logger import Logger

        logger = Logger(self.loop, target, self._environment, ready_s=self._ready_s)
        self.stdio.add_logger(logger)
        return logger

    def _log_both(self, target: targets.Target, only: str = "") -> tuple[int, int]:
        """Both ends that the process gets of a program. only: the stream that it will use."""
        logger = self._logger(target)
        for stream, end in zip(("stdout", "stderr"), logger.readers, strict=True):
            if only in ("", stream):
                self._keep(stream, end)
        ends = logger.take_writers()
        for end in ends:
            self._lend(end)
            if self._owner is not None:
                os.fchown(end, *self._owner)
        return ends

    def _output(self, target: targets.Target, null: int, stream: str) -> int:
        """The end of one stream that the process gets."""
        if target.scheme == targets.NULL:
            return null
        if target.scheme in targets.PROGRAMS:
            # The program finds the end of the other stream when all of the process's ends are closed.
            return self._log_both(target, stream)[stream == "stderr"]
        reading, writing = self._pipe(stream)
        if target.scheme in targets.LOGS:
            self.stdio.add_recorded(reading, stream, self._log(target))
        else:
            self.stdio.add_output(reading, self._sink(target))
        self._loose.discard(reading)
        return self._lend(writing)

    def _log(self, target: targets.Target) -> LogFile | None:
        """The log of an URI; both streams may name the same."""
        if target.scheme == targets.ATTACH:
            return None
        from cloche.shim.stdio.logfile import open_log

        if target not in self._logs:
            self._logs[target] = log = open_log(target)
            self.stdio.add_log(log)
            if log.may_hang():
                log.lane = Lane(self.loop)
        return self._logs[target]

    def _sink(self, target: targets.Target) -> Sink:
        if target.scheme == targets.FIFO:
            sink = open_path(target.path)
        elif target.scheme == targets.FILE:
            sink = open_file(target.path)
        else:
            return NullSink()
        return self._beside(sink)

    def _beside(self, sink: Sink) -> Sink:
        """Or one that writes in another thread, where writing may hang."""
        if isinstance(sink, FileSink):
            from cloche.shim.stdio.beside import BesideSink, may_hang

            if may_hang(sink.file):
                return BesideSink(self.loop, sink)
        return sink

    def _fifo(self, target: targets.Target) -> int:
        return find_fifo(target.path)

    def _input(self, target: targets.Target, null: int) -> int:
        """The end of stdin that the process gets."""
        if target.scheme == targets.NULL:
            return null
        reading, writing = self._pipe("stdin")
        if target.scheme == targets.ATTACH:
            self.stdio.add_attached_input(writing)
        elif (fifo := self._fifo(target)) >= 0:
            self.stdio.add_input(fifo, PipeSink(writing))
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
