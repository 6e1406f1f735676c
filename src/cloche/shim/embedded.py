"""Containers of engines without a daemon: what their shim does that a daemon would do.

The engine leaves embedded.json in the bundle, and asks for Create and Start as a daemon would.

    create    the engine's lock (ownership) is held by the shim too
    created   attach.sock in the run directory: those who attach are shown the output
    ended     its output is in the log · exit.json in the container's directory · cgroup and runtime state
              removed · networks left · bundle removed · lock free · those who are attached told ·
              on_exit executed
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM
from _socket import socket as _socket

from cloche.errors import ClocheError
from cloche.kernel import pidfd as pidfds
from cloche.kernel.syscalls import pidfd_getfd
from cloche.shim import records, timestamps
from cloche.shim.attachment import SOCKET, bind_in, remove_file
from cloche.spec.document import dumps, load_file
from cloche.spec.record import Record
from cloche.wire.messages.google import Any
from cloche.wire.status import StatusError, code_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.shim.containers import Container

FILE = "embedded.json"
FAILURE_TYPE = "cloche.shim.Failure"
# How long those who are attached may take to hear of the end.
_FAREWELL_S = 1.2


class Orders(Record):
    """What the engine wants.

    directory: the container's durable one, where its end is recorded. run_directory: for the socket.
    started_at: which start this is. lock: the engine's pid and its descriptor of the lock.
    input_ends: whether the end of a client's input is the container's. hold_s: how long output waits
    for somebody to attach. on_exit: a command to execute when all is done.
    """

    directory: str
    run_directory: str
    started_at: str
    lock: tuple[int, int]
    input_ends: bool = False
    hold_s: float = 0
    networks: tuple[str, ...] = ()
    on_exit: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """For the bundle."""
        return dumps(dict(zip(self._fields, self.values(), strict=True)))


def keeper_of(bundle: str, *, end: Callable[[], None]) -> Keeper | None:
    """Who looks after a bundle's container; None where that is a daemon. end: ends the shim."""
    try:
        document = load_file(f"{bundle}/{FILE}", limit_bytes=1 << 20)
    except FileNotFoundError:
        return None
    document["lock"] = tuple(document["lock"])
    document["on_exit"] = tuple(document["on_exit"])
    document["networks"] = tuple(document["networks"])
    return Keeper(Orders(**document), bundle, end)


class Keeper:
    """Looks after one container from its creation to its end.

    lock: what is held of the engine's, or -1. failure: why its start failed.
    """

    def __init__(self, orders: Orders, bundle: str, end: Callable[[], None]) -> None:
        self._orders = orders
        self._bundle = bundle
        self._end = end
        self.lock = -1
        self.failure: BaseException | None = None

    def take_lock(self) -> None:
        """Hold the lock that the engine holds: it is free when both have let go. Raises OSError."""
        pid, descriptor = self._orders.lock
        engine = pidfds.open(pid)
        try:
            self.lock = pidfd_getfd(engine, descriptor)
        finally:
            os.close(engine)

    def created(self, container: Container) -> None:
        """It exists: let others attach to it, and follow it to its end."""
        listener = _socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        bind_in(listener, self._orders.run_directory)
        listener.listen(16)
        orders = self._orders
        if container.init.stdio is not None:
            container.init.stdio.serve_attach(listener, input_ends=orders.input_ends, hold_s=orders.hold_s)
        self._follow(container)

    def resume(self, container: Container, lock: int) -> None:
        """Go on where another worker was. lock: owned from now on."""
        self.lock = lock
        self._follow(container)

    def _follow(self, container: Container) -> None:
        container.init.after_drain(lambda: self._settle(container))

    @staticmethod
    def told(error: BaseException) -> BaseException:
        """What went wrong, as the engine is told of it: with its kind."""
        told = {"error": type(error).__name__, "message": str(error), "errno": getattr(error, "errno", None)}
        return StatusError(code_of(error), str(error), (Any(type_url=FAILURE_TYPE, value=dumps(told)),))

    def _settle(self, container: Container) -> None:
        container.lane.run(lambda: self._finish(container), lambda _result, _error: self._leave(container))

    def _finish(self, container: Container) -> None:
        """On the container's lane: put the end on record, and remove what was the container's."""
        ended = container.init.ended
        code = ended.status if ended else records.FAILED
        error = ""
        if self.failure is not None:
            code, error = records.start_code(self.failure), str(self.failure)
        oom_killed = code == 137 and self._was_oom_killed(container)
        moment = timestamps.now()
        try:
            record = records.Ended(self._orders.started_at, moment, code, oom_killed, error)
            records.write_ended(self._orders.directory, record)
        except OSError:
            # A disk that takes no more: those who are attached are told all the same.
            pass
        try:
            container.driver.delete()
        except ClocheError:
            # A cgroup that the kernel still holds: the next engine on this root tries again.
            pass
        self._leave_networks(container)
        remove_bundle(self._bundle)

    def _leave_networks(self, container: Container) -> None:
        if not self._orders.networks:
            return
        from cloche.network.networks import Networks

        root, state = self._orders.networks
        try:
            Networks(root, state).detach(container.id)
        except (ClocheError, OSError):
            # Its record stays: the next engine on this root tries again.
            pass

    @staticmethod
    def _was_oom_killed(container: Container) -> bool:
        try:
            cgroup = container.driver.cgroup()
            return cgroup is not None and cgroup.oom_kills() > 0
        except (OSError, ClocheError):
            return False

    def _leave(self, container: Container) -> None:
        """In the loop: who is told may start or remove the container at once, so the lock goes first."""
        remove_file(f"{self._orders.run_directory}/{SOCKET}")
        container.shim.containers.pop(container.id, None)
        self.release()
        container.shim.keep()  # what stays of the shim has the lock too, for a worker that would follow
        stdio, ended = container.init.stdio, container.init.ended
        if stdio is not None and ended is not None:
            stdio.tell_exit(records.start_code(self.failure) if self.failure else ended.status)
        if self._orders.on_exit:
            command = list(self._orders.on_exit)
            os.posix_spawn(command[0], command, {"LANG": "C.UTF-8"})
        container.shim.loop.call_later(_FAREWELL_S, self._end)

    def release(self) -> None:
        """Let go of the lock."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1


def remove_bundle(path: str) -> None:
    """Remove a bundle whose container is gone: files, and directories without anything in them."""
    try:
        with os.scandir(path) as entries:
            found = list(entries)
    except FileNotFoundError:
        return
    for entry in found:
        try:
            if entry.is_dir(follow_symlinks=False):
                os.rmdir(entry.path)
            else:
                os.unlink(entry.path)
        except OSError:
            continue
    try:
        os.rmdir(path)
    except OSError:
        # Something is mounted or kept in it: the next start on this id clears it.
        return
