"""Lanes of forked processes: what a container's calls cost in memory ends with the call.

    loop                             a fork of it
    fork ──────────────────────────▶ closes all that is not its business
    watches it, answers others       does the work, and may wait
                                     answer, descriptors ──▶ socket
    it has ended: its children ◀──── ends
    are ours now; done(result)

Whoever makes a container touches most of what is loaded, and a page that is touched is a shim's own
from then on. A fork gives all of it back. It costs a millisecond or two, mostly for the pages that it
touches, so threads (`cloche.shim.lanes`) do what touches little, and serve a container that is called
often (a probe every second), which keeps the memory that makes its calls quick. Nothing is forked
while there is another thread in this process.
"""

from __future__ import annotations

import _thread
import os
import time
from _socket import AF_UNIX, CMSG_SPACE, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socketpair
from _socket import socket as _socket

from cloche import errors
from cloche.errors import ClocheError, ResourceExhausted, Unavailable
from cloche.kernel import pidfd as pidfds
from cloche.kernel.cgroups import layout as layouts
from cloche.runtime.failures import ExecFailed
from cloche.runtime.sealed import adopt_init, sealed_init
from cloche.shim.claims import CLAIMS
from cloche.shim.driver import Created, Spawned
from cloche.shim.following import carried
from cloche.shim.lanes import Lane
from cloche.shim.loop import READ
from cloche.spec.document import dumps, loads
from cloche.wire.messages.google import Any as Packed
from cloche.wire.status import StatusError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals
    from collections.abc import Callable
    from typing import Any

    from cloche.shim.exits import Children, Exit
    from cloche.shim.lanes import Done
    from cloche.shim.loop import Loop
else:
    import _signal as signals  # `signal` imports enum

_CALM_S = 5.0
# Create, and a few calls of somebody who looks around.
_MOST_AT_ONCE = 4.0
_RECEIVE_BYTES = 1 << 16
_DESCRIPTOR_BYTES = 4


class ErrandLane:
    """A lane whose calls are carried out by forks. `run` belongs to the loop's thread.

    What a call changes in memory is lost: its result is all that comes back, and has to be None, a
    number, a text, a list of such, a packed message, Spawned or Created.
    """

    def __init__(self, loop: Loop, children: Children) -> None:
        self._loop = loop
        self._children = children
        self._threads = Lane(loop)
        self._brief = Lane(loop, idle_s=0)
        self._waiting: list[tuple[Callable[[], Any], Done, tuple[int, ...], bool]] = []
        self._busy = False
        self._recent = 0.0
        self._last = time.monotonic()

    def run(
        self, work: Callable[[], Any], done: Done, *, keep: tuple[int, ...] = (), brief: bool = False
    ) -> None:
        """Call work() in a fork, then done(result, error) here.

        keep: descriptors that work() uses. brief: it touches little, and a thread does it.
        """
        self._waiting.append((carried(work), done, keep, brief))
        if not self._busy:
            self._next()

    def _next(self) -> None:
        if not self._waiting:
            return
        work, done, keep, brief = self._waiting.pop(0)
        self._busy = True

        def finished(result: Any, error: BaseException | None) -> None:
            self._busy = False
            try:
                done(result, error)
            finally:
                if not self._busy:
                    self._next()

        if brief:
            self._brief.run(work, finished)
        elif self._is_called_often() or _thread._count():
            self._threads.run(work, finished)
        else:
            Errand(self._loop, self._children, finished).begin(work, keep)

    def _is_called_often(self) -> bool:
        """Whether calls come faster than one in _CALM_S, but for the first few."""
        now = time.monotonic()
        self._recent = max(0.0, self._recent - (now - self._last) / _CALM_S) + 1
        self._last = now
        return self._recent > _MOST_AT_ONCE


class Errand:
    """One call in a fork. done(result, error) is called when the fork has ended."""

    def __init__(self, loop: Loop, children: Children, done: Done) -> None:
        self._loop = loop
        self._children = children
        self._done = done
        self._answer = bytearray()
        self._descriptors: list[int] = []

    def begin(self, work: Callable[[], Any], keep: tuple[int, ...]) -> None:
        """Fork. Where that cannot be, done() is told so at once."""
        try:
            program = sealed_init()
            self._socket, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
        except (OSError, ClocheError) as error:
            self._done(None, ResourceExhausted(f"no process can be started: {error}"))
            return
        try:
            pid, handle = self._fork(work, theirs, program, keep)
        except OSError as error:
            self._socket.close()
            self._done(None, ResourceExhausted(f"no process can be started: {error.strerror}"))
            return
        finally:
            theirs.close()
        self._socket.setblocking(False)
        CLAIMS.__enter__()
        self._loop.watch(self._socket.fileno(), READ, lambda _: self._receive())
        self._children.watch(pid, handle, self._ended)

    @staticmethod
    def _fork(
        work: Callable[[], Any], answer: _socket, program: int, keep: tuple[int, ...]
    ) -> tuple[int, int]:
        """The fork's pid and a pidfd of it."""
        pid = os.fork()
        if pid == 0:
            _carry_out(work, answer, program, keep)
        try:
            return pid, pidfds.open(pid)
        except OSError:
            # No descriptors left: without one its end cannot be waited for.
            os.kill(pid, signals.SIGKILL)
            os.waitpid(pid, 0)
            raise

    def _receive(self) -> None:
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(
                    _RECEIVE_BYTES, CMSG_SPACE(2 * _DESCRIPTOR_BYTES)
                )
            except BlockingIOError:
                return
            except OSError:
                data, ancillary = b"", []
            for level, kind, content in ancillary:
                if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
                    self._take_descriptors(content)
            self._answer += data
            if not data:
                self._loop.forget(self._socket.fileno())
                return

    def _take_descriptors(self, content: bytes) -> None:
        for at in range(0, len(content), _DESCRIPTOR_BYTES):
            descriptor = int.from_bytes(content[at : at + _DESCRIPTOR_BYTES], "little")
            os.set_inheritable(descriptor, False)
            self._descriptors.append(descriptor)

    def _ended(self, ended: Exit) -> None:
        """What it has started is our child from now on, and not a moment before."""
        self._receive()
        self._loop.forget(self._socket.fileno())
        self._socket.close()
        try:
            result, error = self._read(ended)
            self._done(result, error)
        finally:
            CLAIMS.__exit__(None, None, None)

    def _read(self, ended: Exit) -> tuple[Any, BaseException | None]:
        if not self._answer:
            for descriptor in self._descriptors:
                os.close(descriptor)
            return None, Unavailable(f"the process that was to do it ended with status {ended.status}")
        document = loads(bytes(self._answer), "what a fork answers")
        if "error" in document:
            return None, _error_of(document["error"])
        return decode(document["result"], self._descriptors), None


def _carry_out(work: Callable[[], Any], answer: _socket, program: int, keep: tuple[int, ...]) -> None:
    """In the fork: does not return."""
    status = 1
    try:
        signals.set_wakeup_fd(-1)
        signals.signal(signals.SIGCHLD, signals.SIG_DFL)
        signals.signal(signals.SIGTERM, signals.SIG_DFL)
        _close_all_but({0, 1, 2, answer.fileno(), program, *keep})
        adopt_init(program)
        layouts.stay()
        descriptors: list[int] = []
        try:
            document = {"result": encode(work(), descriptors)}
        except Exception as error:
            document = {"error": _words_of(error)}
        data = dumps(document)
        rights = b"".join(number.to_bytes(_DESCRIPTOR_BYTES, "little") for number in descriptors)
        sent = answer.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, rights)] if rights else [])
        answer.sendall(data[sent:])
        status = 0
    finally:
        os._exit(status)


def _close_all_but(kept: set[int]) -> None:
    """Other containers' pipes, clients and listeners must not live as long as a call that is stuck."""
    places = sorted(number for number in kept if number >= 0)
    for low, high in zip(places, [*places[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
        os.closerange(low + 1, high)


def encode(result: Any, descriptors: list[int]) -> Any:
    """A result as JSON; the descriptors in it are appended to the list."""
    if isinstance(result, Created):
        spawned = encode(result.spawned, descriptors)
        return {"created": [spawned, result.shares_pids, dict(result.cgroup_paths)]}
    if isinstance(result, Spawned):
        descriptors += [each for each in (result.pidfd, result.console) if each >= 0]
        return {"spawned": result.pid}
    if isinstance(result, Packed):
        return {"packed": [result.type_url, result.value.hex()]}
    return result


def decode(document: Any, descriptors: list[int]) -> Any:
    """The other way around."""
    if not isinstance(document, dict):
        return document
    if "created" in document:
        spawned, shares_pids, paths = document["created"]
        return Created(decode(spawned, descriptors), shares_pids, paths)
    if "spawned" in document:
        return Spawned(document["spawned"], *descriptors)
    type_url, value = document["packed"]
    return Packed(type_url=type_url, value=bytes.fromhex(value))


def _words_of(error: Exception) -> dict[str, Any]:
    if isinstance(error, ExecFailed):
        return {"kind": "ExecFailed", "message": str(error), "errno": error.errno}
    if isinstance(error, StatusError):
        return {"kind": "StatusError", "message": str(error), "errno": error.code}
    if isinstance(error, ClocheError):
        kind = next(each.__name__ for each in type(error).__mro__ if each.__module__ == errors.__name__)
        return {"kind": kind, "message": str(error), "errno": 0}
    if isinstance(error, OSError):
        return {"kind": "OSError", "message": error.strerror or str(error), "errno": error.errno or 0}
    import traceback

    return {"kind": "", "message": "".join(traceback.format_exception(error)), "errno": 0}


def _error_of(words: dict[str, Any]) -> BaseException:
    kind, message, errno = words["kind"], words["message"], words["errno"]
    if kind == "ExecFailed":
        return ExecFailed(message, errno)
    if kind == "StatusError":
        return StatusError(errno, message)
    if kind == "OSError":
        return OSError(errno, message)
    found = getattr(errors, kind, None) if kind else None
    return found(message) if found is not None else RuntimeError(message)
