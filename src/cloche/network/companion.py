"""A small process beside a container that serves what the kernel cannot: proxied ports, and names.

It holds the published ports, so that nobody else on the host takes them, and ends with the container's
first process, whoever is or was its parent. Started by `start`, it is nobody's child.
"""

from __future__ import annotations

import os
import sys

from cloche.errors import FailedPrecondition
from cloche.kernel import pidfd
from cloche.spec import document
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from _socket import socket as Socket  # noqa: N812 - a field is called so
    from collections.abc import Sequence
    from typing import Any

    from cloche.network.events import Events
else:
    import _signal as signal  # `signal` imports enum

_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from cloche.network.companion import main; main(sys.argv[2])"
)
# The shell leaves it behind and tells its number.
_LEAVE_BEHIND = '"$@" >/dev/null 2>&1 & echo $!'


class Duty(Record):
    """One socket that it serves. kind: "tcp", "udp" or "dns", whose second socket is `other`.

    target: address and port of the container.
    """

    kind: str
    socket: Socket
    target: tuple[str, int] = ("", 0)
    other: Socket | None = None

    def close(self) -> None:
        """Close its sockets."""
        self.socket.close()
        if self.other is not None:
            self.other.close()


def start(
    duties: Sequence[Duty],
    *,
    pid: int,
    start_time: int,
    container_id: str,
    state: str,
    servers: Sequence[str],
) -> tuple[int, int]:
    """Have a companion serve; its pid and start time. The sockets stay the caller's, who may close them.

    servers: of names that are no container's. Raises FailedPrecondition.
    """
    told = []
    actions: list[tuple[int, int, int]] = []
    held = [each.fileno() for duty in duties for each in (duty.socket, duty.other) if each is not None]
    # Above all sources, so that none is overwritten before its turn.
    number = max(held, default=2) + 1
    for duty in duties:
        numbers = []
        for each in (duty.socket, duty.other):
            if each is not None:
                actions.append((os.POSIX_SPAWN_DUP2, each.fileno(), number))
                numbers.append(number)
                number += 1
        told.append([duty.kind, numbers, list(duty.target)])
    orders = {"pid": pid, "start": start_time, "id": container_id, "state": state, "duties": told}
    words = _command(document.dumps({**orders, "servers": list(servers)}).decode())
    return _left_behind(words, actions)


def _command(orders: str) -> list[str]:
    base = getattr(sys, "_base_executable", None) or sys.executable
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [base, "-I", "-S", "-X", "utf8", "-c", _PROGRAM, package, orders]


def _left_behind(words: list[str], actions: list[tuple[int, int, int]]) -> tuple[int, int]:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        redirected = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, writing, 1)]
        command = ["/bin/sh", "-c", _LEAVE_BEHIND, "sh", *words]
        # A session of its own: what a terminal sends to the command is not meant for it.
        shell = os.posix_spawn(
            command[0], command, {"LANG": "C.UTF-8"}, file_actions=[*redirected, *actions], setsid=True
        )
        os.close(writing)
        writing = -1
        said = os.read(reading, 100).strip()
        os.waitpid(shell, 0)
        pid = int(said)
        return pid, pidfd.start_time(pid)
    except (OSError, ValueError) as error:
        raise FailedPrecondition(f"the process that serves published ports did not start: {error}") from None
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)


def end(pid: int, start_time: int) -> None:
    """End a companion, and wait until its ports are free; one that is gone does not matter."""
    import select

    try:
        handle = pidfd.open(pid)
    except ProcessLookupError:
        return
    try:
        if pidfd.start_time(pid) == start_time:
            pidfd.send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], 5)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


def main(text: str) -> None:
    """Serve until the container's process has ended."""
    from cloche.network.events import READ, Events

    orders = document.loads(text, "orders")
    events = Events()
    try:
        container = pidfd.open(orders["pid"])
        if pidfd.start_time(orders["pid"]) != orders["start"]:
            return
    except ProcessLookupError:
        return
    events.watch(container, READ, lambda _: events.stop())
    with open("/proc/self/comm", "w", encoding="ascii") as name:
        name.write("cloche-network")
    serve(events, orders)
    events.run()


def serve(events: Events, orders: dict[str, Any]) -> None:
    """Take up the duties."""
    from socket import socket

    from cloche.network.proxy import DatagramProxy, StreamProxy
    from cloche.network.resolver import Names, Resolver

    for kind, numbers, target in orders["duties"]:
        sockets = [socket(fileno=number) for number in numbers]
        if kind == "dns":
            names = Names(orders["state"], orders["id"])
            Resolver(events, names, (sockets[0], sockets[1]), orders["servers"])
        else:
            proxy = StreamProxy if kind == "tcp" else DatagramProxy
            proxy(events, sockets[0], (target[0], target[1]))
