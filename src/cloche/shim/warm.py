"""The warm parent: a process that has everything imported, of which shims are forked.

One for each state folder, user, set of mount, pid, network and user namespaces, and build; all of
these are in the name of its socket, STATE/warm/NAME. `start` founds it when it finds none: it is a
fork of the first `start` itself, which has imported everything to become a shim.

    start                                 warm parent                    shim to be
    one packet: /proc/self and stdin ───▶ same user?
                                          fork ────────────────────────▶ same identity?
    prints what it receives  ◀────────────────────────────────────────── status and text
    (or is told nothing: then it becomes the shim itself)

The warm parent is single-threaded and holds nothing but its sockets, so that nothing of one caller
reaches another's shim. It keeps one end of a pair of sockets for each shim, whose other end closes
when the shim ends; fifteen seconds after the last of them it leaves.
"""

from __future__ import annotations

import fcntl
import gc
import os
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    SCM_RIGHTS,
    SO_PEERCRED,
    SOCK_CLOEXEC,
    SOL_SOCKET,
    close,
    socketpair,
)
from _socket import socket as _socket
from errno import EMFILE, ENFILE

from cloche.errors import ClocheError
from cloche.kernel.siblings import fork_sibling
from cloche.kernel.syscalls import prlimit
from cloche.runtime.sealed import adopt_init, sealed_init
from cloche.shim.beginning import FAILED, NAME, SUCCEEDED, Beginning, wake
from cloche.shim.bootstrap import parse_flags
from cloche.shim.caller import RLIMIT_NOFILE, Caller, content_of, parse_limits
from cloche.shim.loop import READ, Loop, Timer
from cloche.shim.place import KIND
from cloche.shim.removal import remove
from cloche.shim.title import set_title

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

TITLE = "containerd-shim-cloche-v1 warm parent"

# Longer than between two looks of a kubelet at its containers.
IDLE_S = 15.0
_PATIENCE_S = 1.0

PREPARED = (
    "cloche.kernel.cgroups.cpuset",
    "cloche.kernel.cgroups.devices",
    "cloche.kernel.cgroups.v1",
    "cloche.kernel.cgroups.v2",
    "cloche.kernel.foreign",
    "cloche.runtime.joining",
    "cloche.runtime.process_limits",
    "cloche.runtime.starting",
    "cloche.shim.builtin",
    "cloche.shim.metrics",
    "cloche.shim.stdio.beside",
    "cloche.spec.rules",
    "cloche.spec.schema",
    "cloche.spec.validate",
    "cloche.wire.messages.metrics_v1",
    "cloche.wire.messages.metrics_v2",
)
"""Modules that are imported late, where they are used, and that the life of every shim needs."""

_INT_BYTES = 4


class WarmParent:
    """Forks shims. Owns the listener; directory, name: where that is bound."""

    def __init__(self, listener: _socket, directory: int, name: str, *, idle_s: float = IDLE_S) -> None:
        self._listener = listener
        self._directory = directory
        self._name = name
        self._idle_s = idle_s
        self._loop = Loop()
        self._links: set[int] = set()
        # One sealed copy for all that are forked, instead of one each.
        self._init = sealed_init()
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._leaving: Timer | None = None
        myself = Caller.myself()
        self._identity = myself.identity()
        myself.close()

    def run(self) -> NoReturn:
        """Serve until nobody needs it."""
        self._listener.setblocking(False)
        self._loop.watch(self._listener.fileno(), READ, self._accept)
        self._rest()
        self._loop.run()
        os._exit(0)

    def _rest(self) -> None:
        """Leave after a while without shims."""
        if not self._links and self._leaving is None:
            self._leaving = self._loop.call_later(self._idle_s, self._leave)

    def _leave(self) -> None:
        """Who founds a warm parent holds the lock: it finds either none, or one that stays."""
        self._leaving = None
        try:
            fcntl.flock(self._directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._rest()
            return
        self._accept(READ)
        if not self._links:
            try:
                os.unlink(self._name, dir_fd=self._directory)
            except FileNotFoundError:
                pass
            self._loop.stop()
        fcntl.flock(self._directory, fcntl.LOCK_UN)

    def _accept(self, _: int) -> None:
        while True:
            try:
                descriptor, _address = self._listener._accept()  # type: ignore[attr-defined]  # what socket.accept uses
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in (EMFILE, ENFILE):
                    return
                self._turn_away()
            else:
                self._welcome(_socket(fileno=descriptor))

    def _turn_away(self) -> None:
        """With no descriptor left, whoever asks is told at once to help itself, by a hang-up."""
        os.close(self._spare)
        try:
            close(self._listener._accept()[0])  # type: ignore[attr-defined]  # as above
        except OSError:
            pass
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _welcome(self, connection: _socket) -> None:
        """Its packet follows its connection at once; so it may be waited for, but not for ever."""
        connection.settimeout(_PATIENCE_S)
        try:
            credentials = connection.getsockopt(SOL_SOCKET, SO_PEERCRED, 3 * _INT_BYTES)
            uid = int.from_bytes(credentials[_INT_BYTES : 2 * _INT_BYTES], "little")
            if uid == os.geteuid():
                self._answer(connection)
        except OSError:
            pass
        finally:
            connection.close()

    def _answer(self, connection: _socket) -> None:
        descriptors = receive_descriptors(connection)
        try:
            if descriptors:
                self._fork(connection, descriptors)
        finally:
            for descriptor in descriptors:
                close(descriptor)

    def _fork(self, connection: _socket, descriptors: list[int]) -> None:
        ours, theirs = link()
        try:
            pid = fork_away()
        except OSError:
            os.close(ours)
            os.close(theirs)
            return
        if pid == 0:
            try:
                os.close(ours)
                self._let_go()
                caller = Caller(descriptors[0])
                # Who differs hears nothing, and helps itself.
                if caller.identity() == self._identity:
                    stdin = descriptors[1] if len(descriptors) > 1 else -1
                    carry_out(caller, stdin, connection.detach())
            finally:
                os._exit(0)
        os.close(theirs)
        self.stay_for(ours)

    def stay_for(self, link: int) -> None:
        """Count a shim, by our end of the link to it."""
        self._links.add(link)
        self._loop.watch(link, READ, lambda _: self._forget(link))
        if self._leaving:
            self._leaving.cancel()
            self._leaving = None

    def _forget(self, link: int) -> None:
        self._loop.forget(link)
        self._links.discard(link)
        os.close(link)
        self._rest()

    def _let_go(self) -> None:
        """In what was forked: keep nothing of the warm parent's but the program for containers."""
        self._loop.close()
        self._listener.close()
        for descriptor in (*self._links, self._directory, self._spare):
            os.close(descriptor)
        adopt_init(self._init)


def carry_out(caller: Caller, stdin: int, channel: int) -> NoReturn:
    """Do what a caller's command line says, in a process of its own.

    channel: takes the answer: a byte for the exit code, and the text that is to be printed.
    """

    def answer(status: int, data: bytes) -> None:
        os.write(channel, bytes((status,)) + data)
        os.close(channel)
        if stdin >= 0:
            os.close(stdin)

    caller.hand_down()
    program, *words = caller.command()
    if words[-1:] in (["hold"], ["guard"]):
        os.close(channel)
        wake(caller, stdin, [program, *words])
    if words[-1:] == ["delete"]:
        try:
            answer(SUCCEEDED, remove(parse_flags(words)).encode())
        except (ClocheError, OSError) as error:
            answer(FAILED, f"{NAME}: {error}\n".encode(errors="surrogateescape"))
        os._exit(0)
    Beginning(caller, caller.program(), words, os.environ).run(stdin, answer)


def receive_descriptors(connection: _socket) -> list[int]:
    """The descriptors that come with one packet; the receiver's."""
    _, ancillary, _, _ = connection.recvmsg(16, CMSG_SPACE(2 * _INT_BYTES))
    found = []
    for level, kind, data in ancillary:
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
            numbers = [data[at : at + _INT_BYTES] for at in range(0, len(data) - 3, _INT_BYTES)]
            found += [int.from_bytes(number, "little") for number in numbers]
    for descriptor in found:
        os.set_inheritable(descriptor, False)
    return found


def fork_away() -> int:
    """Fork a process that has our parent for its own; 0 in it."""
    try:
        return fork_sibling()
    except OSError:
        # A filter of system calls that knows no clone3: the long way, by a child that ends at once.
        pid = os.fork()
        if pid == 0 and os.fork():
            os._exit(0)
        if pid:
            os.waitpid(pid, 0)
        return pid


def link() -> tuple[int, int]:
    """Two connected descriptors: the warm parent's and a shim's, who learns of the other's end."""
    ours, theirs = socketpair(AF_UNIX, KIND | SOCK_CLOEXEC)
    return ours.detach(), theirs.detach()


def settle(listener: _socket, directory: int, name: str, first: int) -> NoReturn:
    """Be the warm parent, in a process that was forked for it and has one thread.

    first: our end of the link to a shim that is there already. listener, directory, first: all that
    is kept open; they become the warm parent's.
    """
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number, inheritable=True)
    kept = sorted({listener.fileno(), directory, first})
    highest = os.sysconf("SC_OPEN_MAX")
    for low, high in zip([2, *kept], [*kept, highest], strict=True):
        os.closerange(low + 1, high)
    # One descriptor a shim: as many as there may be.
    _, most = parse_limits(content_of("/proc/self/limits"))[RLIMIT_NOFILE]
    prlimit(0, RLIMIT_NOFILE, most, most)
    set_title(TITLE.split(" ", 1))
    gc.collect()
    gc.freeze()
    parent = WarmParent(listener, directory, name)
    parent.stay_for(first)
    parent.run()


def import_all() -> None:
    """Import what shims need in their lives, so that none of them does it for itself alone."""
    for name in PREPARED:
        __import__(name)
