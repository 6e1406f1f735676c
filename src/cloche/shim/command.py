"""`containerd-shim-cloche-v1`: what containerd executes to start a shim, and to clean up after one.

The launcher asks the warm parent first; only where there is none, or none that fits, does Python
start and `start` or `delete` come here.
"""

from __future__ import annotations

import os
import sys

from cloche.errors import ClocheError, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import NoReturn

    from cloche.shim.bootstrap import Flags
    from cloche.shim.place import Place

NAME = "containerd-shim-cloche-v1"
# The number of the link in a worker that its holder has started.
_LINK = 3


def main() -> int:
    """The console entry: carry out sys.argv; returns the exit code."""
    from cloche.shim.bootstrap import parse_flags

    try:
        return _carry_out(parse_flags(sys.argv[1:]))
    except (ClocheError, OSError) as error:
        _write(2, f"{NAME}: {error}\n".encode(errors="surrogateescape"))
        return 1


def _carry_out(flags: Flags) -> int:
    if flags.switches & {"v", "version"}:
        from cloche.shim.information import version

        _write(1, version().encode())
    elif "info" in flags.switches:
        from cloche.shim.beginning import read_input
        from cloche.shim.information import information

        _write(1, information(read_input(0)).encode())
    elif flags.action == "start":
        return start()
    elif flags.action == "wake":
        wake()
    elif flags.action == "delete":
        from cloche.shim.removal import remove

        _write(1, remove(flags).encode())
    else:
        raise InvalidArgument(f"what to do? say start or delete, not {flags.action!r}: containerd does")
    return 0


def start() -> int:
    """Found a warm parent where none is, and become a shim ourselves; returns the exit code."""
    place, listener = _founded()
    from cloche.shim import warm

    warm.import_all()
    if place and listener:
        # As those that the warm parent forks itself, the first shim is linked to it: it stays as long.
        its, ours = warm.link()
        if _detached():
            os.close(ours)
            warm.settle(listener, place.directory, place.name, its)
        listener.close()
        os.close(its)
    if place:
        os.close(place.directory)
    return _become_shim()


def wake() -> NoReturn:
    """Become the worker of the shim that has executed us, whose link is descriptor 3; or have one forked.

    Nobody was there who would have forked one: so what forks them is founded, as `start` does.
    """
    place, listener = _founded()
    from cloche.shim import beginning, warm

    if place and not listener:
        place.ask(_LINK)
    warm.import_all()
    if place and listener:
        its, ours = warm.link()
        if _detached():
            os.close(ours)
            warm.settle(listener, place.directory, place.name, its)
        listener.close()
        os.close(its)
    beginning.wake(None, _LINK, sys.argv)


def _founded() -> tuple[Place | None, socket | None]:
    """Where nothing can be founded, for want of rights or room, shims do without."""
    from cloche.shim.place import Place

    try:
        place = Place(sys.argv[0])
        return place, place.found()
    except OSError:
        return None, None


def _detached() -> bool:
    """Fork twice: true in a process whose parent is PID 1 or the nearest subreaper, false in ours."""
    pid = os.fork()
    if pid == 0:
        if os.fork():
            os._exit(0)
        return True
    os.waitpid(pid, 0)
    return False


def _become_shim() -> int:
    """Fork the shim, hand its answer on, and return the exit code that goes with it."""
    from cloche.shim.beginning import FAILED, Beginning
    from cloche.shim.caller import Caller

    caller = Caller.myself()
    reading, writing = os.pipe()
    if _detached():
        os.close(reading)
        stdin = _leave_standard_descriptors()

        def answer(status: int, data: bytes) -> None:
            _write(writing, bytes((status,)) + data)
            os.close(writing)
            os.close(stdin)

        Beginning(caller, sys.argv[0], sys.argv[1:], dict(os.environ)).run(stdin, answer)
    os.close(writing)
    told = b""
    while part := os.read(reading, 1 << 16):
        told += part
    status = told[0] if told else FAILED
    text = told[1:] if told else f"{NAME}: the shim ended before it answered\n".encode()
    _write(1 if status == 0 else 2, text)
    return status


def _leave_standard_descriptors() -> int:
    """containerd reads our output until nobody has it open; returns another number for the input."""
    stdin = os.dup(0)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number, inheritable=True)
    os.close(null)
    return stdin


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
