"""A logging program, which reads a process's output from its descriptors 3 and 4.

    shim                                    program (CONTAINER_ID, CONTAINER_NAMESPACE, arguments)
      │ starts it ───────────────────────────> 3: stdout, 4: stderr, 5: to tell that it is ready
      │ <──────── a byte, or end of file ───── closes 5
      │ creates the process, which writes straight into 3 and 4
      │ ─────────────── end of file ─────────> ends by itself; later SIGTERM, then SIGKILL

The shim keeps reading ends too: when the program dies, they are emptied into nothing, and the
process neither waits nor gets SIGPIPE.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select

from cloche.errors import ClocheError, DeadlineExceeded, FailedPrecondition, NotFound
from cloche.kernel import pidfd as pidfds
from cloche.shim.claims import CLAIMS
from cloche.shim.loop import READ
from cloche.shim.stdio.pump import Pump
from cloche.shim.stdio.sinks import NullSink
from cloche.shim.stdio.uris import BINARY_V2

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals
    from collections.abc import Callable

    from cloche.shim.loop import Loop, Timer
    from cloche.shim.stdio.uris import Target
else:
    import _signal as signals  # `signal` imports enum

# From SIGTERM to SIGKILL.
_TERM_S = 2.0
# What Python and a shim ignore would stay ignored in the program.
_DEFAULT_SIGNALS = (signals.SIGPIPE, signals.SIGXFSZ, signals.SIGINT, signals.SIGHUP)
_FIRST_FREE = 6


class Logger:
    """One running program. All methods but the first belong to the loop's thread."""

    def __init__(self, loop: Loop, target: Target, environment: dict[str, str], *, ready_s: float) -> None:
        """Start it and wait until it is ready, which may block for ready_s seconds.

        Raises NotFound or FailedPrecondition when it cannot be started or does not get ready,
        DeadlineExceeded when it takes too long.
        """
        self._prepare(loop, target.path)
        try:
            self._add_pipe()
            self._add_pipe()
            self._start(target, environment, ready_s)
        except BaseException:
            self._give_up()
            raise

    @classmethod
    def adopt(cls, loop: Loop, path: str, pid: int, pidfd: int, readers: list[int]) -> Logger:
        """One that another worker has started. pidfd, readers: owned from now on."""
        logger = cls.__new__(cls)
        logger._prepare(loop, path)
        logger._pid, logger._pidfd, logger._readers = pid, pidfd, readers
        CLAIMS.claim(pid)
        return logger

    def _prepare(self, loop: Loop, path: str) -> None:
        self.ended = False
        self._pid = self._pidfd = -1
        self._loop = loop
        self._path = path
        self._timers: list[Timer] = []
        self._told: Callable[[], None] = _nobody
        self._discarding: list[Pump] = []
        self._readers: list[int] = []
        self._writers: list[int] = []

    @property
    def process(self) -> tuple[int, int]:
        """Its pid and a pidfd; borrowed."""
        return self._pid, self._pidfd

    def _add_pipe(self) -> None:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        self._readers.append(reading)
        self._writers.append(writing)

    def _start(self, target: Target, environment: dict[str, str], ready_s: float) -> None:
        ready, telling = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                self._spawn(target, environment, (*self._readers, telling))
            finally:
                os.close(telling)
            self._wait_until_ready(ready, must_say=target.scheme == BINARY_V2, ready_s=ready_s)
        finally:
            os.close(ready)

    def _spawn(self, target: Target, environment: dict[str, str], ends: tuple[int, ...]) -> None:
        null = [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in range(3)]
        words = [word for pair in target.options for word in pair]
        copies: list[int] = []
        try:
            # Away from 3 to 5 first, where one could be overwritten before it is copied.
            for end in ends:
                copies.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE))
            given = [(os.POSIX_SPAWN_DUP2, copy, number) for number, copy in enumerate(copies, 3)]
            with CLAIMS:
                self._pid = pidfds.spawn(
                    target.path,
                    [target.path, *words],
                    environment,
                    file_actions=[*null, *given],
                    setsigdef=_DEFAULT_SIGNALS,
                    setsigmask=(),
                )
                CLAIMS.claim(self._pid)
            self._pidfd = os.pidfd_open(self._pid)
        except OSError as error:
            raise _cannot_start(target.path, error) from None
        finally:
            for copy in copies:
                os.close(copy)

    def _wait_until_ready(self, ready: int, *, must_say: bool, ready_s: float) -> None:
        poll = select.poll()
        poll.register(ready, select.POLLIN)
        if not poll.poll(ready_s * 1000):
            raise DeadlineExceeded(
                f"logging program {self._path!r}: not ready after {ready_s:g} s; "
                "it tells that it is ready by closing descriptor 5"
            )
        if not os.read(ready, 1) and must_say:
            raise FailedPrecondition(
                f"logging program {self._path!r}: it did not say that it is ready; has it crashed? "
                "(binary-v2:// asks for a byte on descriptor 5)"
            )

    def _give_up(self) -> None:
        """It never was of use: end it at once."""
        if self._pid >= 0:
            # Nobody else reaps it, so the number is still its own.
            os.kill(self._pid, signals.SIGKILL)
            pidfds.reap(self._pid)
            CLAIMS.release(self._pid)
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._close_ends()

    @property
    def readers(self) -> tuple[int, ...]:
        """Our copies of its own ends of stdout and stderr; borrowed."""
        return tuple(self._readers)

    def take_writers(self) -> tuple[int, int]:
        """The ends of stdout and stderr that the process gets; the caller's from now on."""
        out, err = self._writers
        self._writers = []
        return out, err

    def watch(self, ended: Callable[[], None]) -> None:
        """Reap it when it ends, and call then."""
        self._told = ended
        self._loop.watch(self._pidfd, READ, self._noticed)

    def release(self) -> None:
        """Keep no reading end: whoever writes notices the program's death by itself."""
        self._close_readers()

    def _noticed(self, _events: int) -> None:
        if self._reap():
            for reader in self._readers:
                pump = Pump(self._loop, reader, NullSink())
                self._discarding.append(pump)
                pump.start()
            self._readers = []
            self._told()

    def _reap(self) -> bool:
        """Whether it has ended; then nothing of it is left."""
        try:
            if pidfds.wait(self._pidfd, block=False) is None:
                return False
        except ChildProcessError:
            # It was reaped by somebody else, so it has ended.
            pass
        self.ended = True
        self._loop.forget(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        CLAIMS.release(self._pid)
        self._cancel()
        return True

    def _cancel(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def stop(self) -> None:
        """It had its time to end by itself."""
        if not self.ended and not self._timers:
            self._signal(signals.SIGTERM)
            self._timers.append(self._loop.call_later(_TERM_S, lambda: self._signal(signals.SIGKILL)))

    def _signal(self, number: int) -> None:
        try:
            pidfds.send_signal(self._pidfd, number)
        except ProcessLookupError:
            # Its end is about to be noticed.
            pass

    def close(self) -> None:
        """Let go of the pipes, and see to it that it ends."""
        self._close_ends()
        if not self.ended:
            self.watch(_nobody)
            self.stop()

    def _close_ends(self) -> None:
        for writer in self._writers:
            os.close(writer)
        self._writers = []
        self._close_readers()
        for pump in self._discarding:
            pump.close()

    def _close_readers(self) -> None:
        for reader in self._readers:
            os.close(reader)
        self._readers = []


def _cannot_start(path: str, error: OSError) -> ClocheError:
    if error.errno == errno.ENOENT:
        return NotFound(f"logging program {path!r}: it or its interpreter does not exist")
    return FailedPrecondition(f"logging program {path!r}: {os.strerror(error.errno or 0)}")


def _nobody() -> None:
    """Nobody wants to know."""
