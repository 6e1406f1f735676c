"""A command as the parent of the container it is attached to: makes it, moves its streams, records its end.

start   started.json · runtime create and start      (on failure: exit.json, nothing is left)
serve   streams until the process ends
        drain · exit.json on disk · cgroup and runtime state removed · lock free · clients told
"""

from __future__ import annotations

import os
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM
from _socket import socket as _socket

from cloche.errors import ClocheError, Unavailable
from cloche.runtime.container import Container, Process
from cloche.runtime.create import create
from cloche.shim import records, timestamps
from cloche.shim.attachment import SOCKET, bind_in, remove_file
from cloche.shim.clients import SocketClient
from cloche.shim.jsonlog import LogWriter
from cloche.shim.streams import Streams
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.shim.streams import Client
    from cloche.spec.config import Config

_DRAIN_S = 5.0


class Request(Record):
    """What a parent is told.

    directory: the container's durable one. run_directory: for its lock and socket. runtime_root:
    where the runtime keeps its state. log_path: empty for no log. input_ends: whether the end of a
    client's input is the end of the container's. durable: whether start and end are recorded.
    For a shim (engine.detached) alone: hold: the starter is about to attach, so output waits for it;
    on_exit: a command to execute when all is done.
    """

    container_id: str
    config: Config
    directory: str
    run_directory: str
    runtime_root: str
    log_path: str = ""
    stdin_open: bool = False
    input_ends: bool = False
    durable: bool = True
    hold: bool = False
    on_exit: tuple[str, ...] = ()


class Parent:
    """See the module. Holds no lock itself: whoever makes it does."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.started = records.Started(timestamps.now())
        self.streams: Streams
        self._container: Container
        self._process: Process
        self._listener: _socket | None = None

    @property
    def pid(self) -> int:
        """The container's process, as the host sees it."""
        return self._process.pid

    def start(self, rootfs: int, *, attach: Callable[[int], None] | None = None) -> None:
        """Make the container and start its process.

        rootfs: the detached mount of its root file system; borrowed. attach: given the process while
        it waits to execute its program, to bring it into networks. Raises the runtime's errors, and
        attach's; then no process, cgroup or mount is left, and the failure is on record.
        """
        if self.request.durable:
            records.write_started(self.request.directory, self.started)
        try:
            self._create(rootfs, attach)
        except (ClocheError, OSError) as error:
            if self.request.durable:
                self._record(records.start_code(error), error=str(error))
            raise

    def _create(self, rootfs: int, attach: Callable[[int], None] | None) -> None:
        request = self.request
        terminal = bool(request.config["process"].get("terminal"))
        ends = Ends(pipes=not terminal, stdin=request.stdin_open and not terminal)
        try:
            self._container, self._process = create(
                request.runtime_root,
                request.container_id,
                request.config,
                bundle=request.directory,
                rootfs=rootfs,
                stdio=ends.theirs,
                gate=attach is not None,
            )
            if attach is not None:
                begin(self._container, self._process, attach)
        except BaseException:
            ends.close_ours()
            raise
        finally:
            ends.close_theirs()
        self.streams = Streams(ends.outputs, ends.stdin, console=self._process.take_console())
        if request.log_path:
            self._log = LogWriter(request.log_path)
            self.streams.keep(self._log)

    def listen(self) -> None:
        """Let others attach, through a socket in the run directory that only root can open."""
        listener = _socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            bind_in(listener, self.request.run_directory)
            listener.listen(16)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        self._listener = listener

    def serve(self, local: Client | None = None, *, released: Callable[[], None] | None = None) -> int:
        """Move streams until the process has ended; returns its exit code.

        local: a client of this very process. released: called when all is on record and removed,
        before anybody is told: it gives up the lock, so that who is told may start or remove the
        container at once.
        """
        if local is not None:
            self.streams.clients.append(local)
        accepting: dict[int, Callable[[], bool]] = {}
        if self._listener is not None:
            accepting[self._listener.fileno()] = self._accept
        self.streams.run({**accepting, self._process.fileno(): _yes})
        code = self._process.wait()
        self._finish(code)
        if released is not None:
            released()
        self._tell(code)
        return code

    def _accept(self) -> bool:
        self._accepted()
        return False

    def _accepted(self) -> bool:
        """Take one more client; false where none waits."""
        if self._listener is None:
            return False
        try:
            descriptor, _ = self._listener._accept()  # type: ignore[attr-defined]  # socket.accept's core
        except OSError:
            return False
        connection = _socket(fileno=descriptor)
        self.streams.clients.append(SocketClient(connection, input_ends=self.request.input_ends))
        return True

    def kill(self, signal: int) -> None:
        """Send a signal to the container's first process; one that has ended does not mind."""
        try:
            self._process.kill(signal)
        except (ProcessLookupError, ClocheError):
            pass

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the container's console, where it has one."""
        if self.streams.console >= 0:
            from cloche.shim.clients import set_window_size

            set_window_size(self.streams.console, rows, columns)

    def _finish(self, code: int) -> None:
        oom_killed = code == 137 and self._oom_killed()
        self._kill_rest()
        # What the pipes still hold is output; a process elsewhere that keeps one open is not waited for.
        if not self.streams.run({}, deadline=time.monotonic() + _DRAIN_S, until_silent=True):
            self.streams.abandon()
            self.streams.run({}, deadline=time.monotonic() + 1, until_silent=True)
        try:
            if self.request.log_path:
                self._log.close()
            if self.request.durable:
                self._record(code, oom_killed=oom_killed)
        except OSError:
            # A disk that takes no more: those who are attached are told all the same.
            pass
        self._delete()
        self._process.close()
        if self._listener is not None:
            remove_file(f"{self.request.run_directory}/{SOCKET}")

    def _tell(self, code: int) -> None:
        """Give everyone who is attached the exit code, also those who came at the last moment."""
        if self._listener is not None:
            while self._accepted():
                pass
            self._listener.close()
        for client in self.streams.clients:
            if isinstance(client, SocketClient):
                client.exited(code)
        self.streams.close()

    def _delete(self) -> None:
        try:
            self._container.delete(force=True)
        except Unavailable:
            # A cgroup that the kernel still holds: the next engine on this root tries again.
            pass

    def _oom_killed(self) -> bool:
        try:
            return self._container.cgroup.oom_kills() > 0
        except (OSError, ClocheError):
            return False

    def _kill_rest(self) -> None:
        """Without a pid namespace of its own, its children outlive the first process."""
        kinds = self.request.config.get("linux", {}).get("namespaces", [])
        if not any(each["type"] == "pid" and "path" not in each for each in kinds):
            try:
                self._container.kill(9, everyone=True)
            except ClocheError:
                pass

    def _record(self, code: int, *, oom_killed: bool = False, error: str = "") -> None:
        ended = records.Ended(self.started.started_at, timestamps.now(), code, oom_killed, error)
        records.write_ended(self.request.directory, ended)


def begin(container: Container, process: Process, attach: Callable[[int], None]) -> None:
    """Start a container that waits at its gate, once it is attached; where that fails it is deleted."""
    try:
        attach(process.pid)
        container.start()
    except BaseException:
        container.delete(force=True)
        process.wait()
        process.close()
        raise


class Ends:
    """Both ends of a container's standard streams: pipes, and /dev/null for what it does not get."""

    def __init__(self, *, pipes: bool, stdin: bool) -> None:
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self._close = [null]
        self.outputs: dict[int, str] = {}
        self.stdin = -1
        theirs = [null, null, null]
        if pipes:
            for place, stream in ((1, "stdout"), (2, "stderr")):
                reading, theirs[place] = os.pipe()
                self.outputs[reading] = stream
        if stdin:
            theirs[0], self.stdin = os.pipe()
        self._close = list({null, *theirs})
        self.theirs: tuple[int, int, int] = (theirs[0], theirs[1], theirs[2])

    def close_theirs(self) -> None:
        for descriptor in self._close:
            os.close(descriptor)

    def close_ours(self) -> None:
        for descriptor in self.outputs:
            os.close(descriptor)
        if self.stdin >= 0:
            os.close(self.stdin)


def _yes() -> bool:
    return True
