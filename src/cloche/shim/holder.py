"""What stays of a shim, as its worker sees it: a small process that is the parent of the children, and keeps
what is open (native/hold.h).

    worker                                      holder
    spawn, wait ──────────────────────────────▶ fork and execve, waitid: what only the parent can do
    keep(state, descriptors) ─────────────────▶ has them when the worker dies
    rest(state, descriptors), and ends ───────▶ polls them; then a new worker gets them all
"""

from __future__ import annotations

import fcntl
import os
import select
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SO_PEERCRED,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socketpair,
)
from _socket import socket as _socket
from _struct import Struct, pack, unpack
from _thread import allocate_lock
from errno import ENOENT

from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from cloche.shim.loop import Loop

_SPAWN, _WAIT, _TABLE, _SETTLE, _QUIT = 1, 2, 3, 4, 5
_NAMED, _GROUP = 1, 2
_HEAD = Struct("iiii")
_BATCH = 200
_LONGEST_BYTES = 4 * (4 + _BATCH)
_LINK, _NEWS = 3, 4
_IN_MEMORY = "/proc/self/fd/"
MOST = 4000
"""How many descriptors it can keep."""


class Gone(OSError):
    """The holder has ended: there is nothing left to work for."""


class Waited(Record):
    """How a child ended, in the words of waitid(2)."""

    si_pid: int
    si_code: int
    si_status: int


class Holder:
    """One end of the link. Calls may come from any thread, and never wait long.

    pid: of the holder, which is the shim's for everybody. news: tells of its signals, one byte each.
    """

    def __init__(self, link: _socket, news: int, pid: int) -> None:
        self.link = link
        self.news = news
        self.pid = pid
        self._lock = allocate_lock()

    @classmethod
    def start(cls, program: str, words: Sequence[str], *, guarded: bool = False) -> Holder:
        """Start one. program: the launcher; words: what `ps` shows of it. Raises OSError.

        guarded: another one takes its place if it is killed.
        """
        ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # Away from the numbers that they get, where one could be overwritten before it is copied.
        copies = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _NEWS + 1) for each in (theirs.fileno(), writing)]
        try:
            actions = [
                (os.POSIX_SPAWN_DUP2, copy, number)
                for copy, number in zip(copies, (_LINK, _NEWS), strict=True)
            ]
            first = os.posix_spawn(
                program, [program, *words, "guard" if guarded else "hold"], os.environ, file_actions=actions
            )
        except BaseException:
            ours.close()
            os.close(reading)
            raise
        finally:
            theirs.close()
            for descriptor in (writing, *copies):
                os.close(descriptor)
        # It forks itself, to have not us for its parent.
        os.waitpid(first, 0)
        holder = cls(ours, reading, 0)
        holder.pid = holder._receive()[0][1]
        return holder

    @classmethod
    def take_over(cls, link: int) -> tuple[Holder, list[int]]:
        """Become the worker of a holder that has woken us; the descriptors that it has kept.

        Raises Gone where it has given us up meanwhile.
        """
        socket = _socket(fileno=link)
        pid = int.from_bytes(socket.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)[:4], "little")
        holder = cls(socket, -1, pid)
        descriptors: list[int] = []
        left = 1
        while left:
            (_, _, _, left), found = holder._receive()
            descriptors += found
        holder.news = descriptors.pop(0)
        # Only who is answered may touch anything: another one may have been woken in our place.
        holder._ask(_HEAD.pack(_WAIT, os.P_PID, holder.pid, os.WEXITED), ())
        return holder, descriptors

    def fileno(self) -> int:
        """What hangs up when the holder has ended."""
        return self.link.fileno()

    def posix_spawn(
        self,
        name: str,
        words: Sequence[str],
        environment: Mapping[str, str],
        *,
        search: bool = False,
        file_actions: Sequence[Any] = (),
        **options: Any,
    ) -> int:
        """See kernel.pidfd.spawn. Of the options only setpgroup makes a difference."""
        opened: list[int] = []
        descriptors = {0: 0, 1: 1, 2: 2}
        try:
            for action, *what in file_actions:
                if action == os.POSIX_SPAWN_OPEN:
                    number, path, flags, mode = what
                    descriptors[number] = os.open(path, flags | os.O_CLOEXEC, mode)
                    opened.append(descriptors[number])
                else:
                    source, number = what
                    descriptors[number] = source
            for path in _places(name) if search else (name,):
                try:
                    return self._spawn(path, words, environment, descriptors, group="setpgroup" in options)
                except (FileNotFoundError, NotADirectoryError):
                    continue
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), name)
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _spawn(
        self,
        path: str,
        words: Sequence[str],
        environment: Mapping[str, str],
        descriptors: Mapping[int, int],
        *,
        group: bool,
    ) -> int:
        texts = [path, *words, *(f"{name}={value}" for name, value in environment.items())]
        block = pack("II", len(words), len(environment)) + b"".join(
            os.fsencode(text) + b"\0" for text in texts
        )
        memory = os.memfd_create("words", os.MFD_CLOEXEC)
        failure, failing = os.pipe2(os.O_CLOEXEC)
        try:
            os.write(memory, block)
            in_memory = path.startswith(_IN_MEMORY)
            given = [memory, failing, *([int(path.removeprefix(_IN_MEMORY))] if in_memory else [])]
            flags = (0 if in_memory else _NAMED) | (_GROUP if group else 0)
            message = _HEAD.pack(_SPAWN, len(descriptors), flags, len(block))
            message += b"".join(number.to_bytes(4, "little") for number in descriptors)
            pid = self._ask(message, (*given, *descriptors.values()))[1]
        except BaseException:
            os.close(failure)
            raise
        finally:
            os.close(memory)
            os.close(failing)
        if pid < 0:
            os.close(failure)
            raise OSError(-pid, os.strerror(-pid))
        self._see_executed(pid, failure, path)
        return pid

    def _see_executed(self, pid: int, failure: int, path: str) -> None:
        """The child itself says why it could not be; the end of the pipe says that it was."""
        try:
            error = os.read(failure, 4)
        finally:
            os.close(failure)
        if error:
            self.waitid(os.P_PID, pid, os.WEXITED)
            (number,) = unpack("i", error)
            raise OSError(number, os.strerror(number), path)

    def waitid(self, idtype: int, number: int, options: int) -> Any:
        """See kernel.pidfd.waitid: what os.waitid gives, or Waited."""
        if idtype != os.P_ALL:
            try:
                return os.waitid(idtype, number, options)
            except ChildProcessError:
                # Not one of those that we have made ourselves.
                pass
        if not options & os.WNOHANG:
            _await(idtype, number)
        given = (number,) if idtype == os.P_PIDFD else ()
        asked = _HEAD.pack(_WAIT, idtype, 0 if given else number, options)
        _, error, pid, code, status = self._ask(asked, given)
        if error < 0:
            raise OSError(-error, os.strerror(-error))
        return Waited(pid, code, status) if pid else None

    def keep(self, descriptors: Sequence[int]) -> None:
        """Have these kept for a worker that follows if this one dies; nothing else any more."""
        with self._lock:
            self._give(descriptors, [0] * len(descriptors))
            self._send(_HEAD.pack(_SETTLE, 0, -1, 0), ())

    def rest(self, descriptors: Sequence[int], events: Sequence[int], pause_ms: int) -> bool:
        """Have these kept and polled, and be let go: the caller ends then. False where there is no room.

        events: what to wake for, of each; 0 for nothing. pause_ms: the longest rest, -1 for ever.
        """
        with self._lock:
            self._give(descriptors, events)
            self._send(_HEAD.pack(_SETTLE, 1, pause_ms, 0), ())
            return not self.link.recv(_LONGEST_BYTES)

    def end(self) -> None:
        """Have it end."""
        with self._lock:
            try:
                self._send(_HEAD.pack(_QUIT, 0, 0, 0), ())
            except Gone:
                pass

    def _give(self, descriptors: Sequence[int], events: Sequence[int]) -> None:
        for first in range(0, max(1, len(descriptors)), _BATCH):
            part = descriptors[first : first + _BATCH]
            numbers = b"".join(each.to_bytes(4, "little") for each in events[first : first + _BATCH])
            self._send(_HEAD.pack(_TABLE, not first, len(part), 0) + numbers, part)

    def _ask(self, message: bytes, descriptors: Sequence[int]) -> tuple[int, ...]:
        with self._lock:
            self._send(message, descriptors)
            return self._receive()[0]

    def _send(self, message: bytes, descriptors: Sequence[int]) -> None:
        rights = b"".join(number.to_bytes(4, "little") for number in descriptors)
        try:
            self.link.sendmsg([message], [(SOL_SOCKET, SCM_RIGHTS, rights)] if rights else [])
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Gone(error.errno, "the holder has ended") from None

    def _receive(self) -> tuple[tuple[int, ...], list[int]]:
        try:
            data, ancillary, _, _ = self.link.recvmsg(
                _LONGEST_BYTES, CMSG_SPACE(4 * (_BATCH + 1)), MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            data, ancillary = b"", []
        if not data:
            raise Gone(32, "the holder has ended")
        found: list[int] = []
        for _, kind, content in ancillary:
            if kind == SCM_RIGHTS:
                found += unpack(f"{len(content) // 4}i", content[: len(content) // 4 * 4])
        return unpack(f"{len(data) // 4}i", data), found


def _places(name: str) -> list[str]:
    """Where a program may be that is not given by a path."""
    if "/" in name:
        return [name]
    return [f"{directory}/{name}" for directory in os.environ.get("PATH", os.defpath).split(":")]


def _await(idtype: int, number: int) -> None:
    """Wait for an end: a pidfd is readable to everybody, not only to the parent."""
    handle = number if idtype == os.P_PIDFD else os.pidfd_open(number)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.poll()
    finally:
        if handle != number:
            os.close(handle)


class Packing:
    """What one worker packs. everything: also clients' connections, which only one process may hold.

    A worker in use leaves the others to one that follows if it dies; what is half said on a connection would
    not be understood.
    """

    def __init__(self, loop: Loop, *, everything: bool) -> None:
        self.everything = everything
        # The state itself comes first.
        self.descriptors = [-1]
        self.events = [0]
        self._loop = loop

    def put(self, descriptor: int) -> int:
        """Its place; -1 for none."""
        if descriptor < 0:
            return -1
        if descriptor in self.descriptors:
            return self.descriptors.index(descriptor)
        self.descriptors.append(descriptor)
        self.events.append(self._loop.interest(descriptor))
        return len(self.descriptors) - 1


class Unpacking:
    """What the next worker unpacks."""

    def __init__(self, descriptors: Sequence[int]) -> None:
        self._left = dict(enumerate(descriptors))

    def take(self, place: int) -> int:
        """The descriptor, the receiver's from now on; -1 for what was not there."""
        return self._left.pop(place, -1)

    def close(self) -> None:
        """Close what nobody has taken."""
        for descriptor in self._left.values():
            os.close(descriptor)
        self._left.clear()
