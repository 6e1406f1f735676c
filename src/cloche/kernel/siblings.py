"""Forking a process that is not our child, but our parent's."""

from __future__ import annotations

import os
from _thread import get_ident

from cloche.kernel.syscalls import address_of, call

_CLONE_PARENT = 0x00008000
_CLONE_CHILD_CLEARTID = 0x00200000
_CLONE_CHILD_SETTID = 0x01000000
_THREAD_DESCRIPTION_BYTES = 1 << 11
# Process -> address: looked for once, since whoever forks siblings forks many.
_places: dict[int, int] = {}


def fork_sibling() -> int:
    """clone3(2): 0 in the new process, whose parent is ours; its pid here.

    What would otherwise take two forks, each of which copies the page tables of a large program, and
    an end. Only for a process of one thread: Python is not told, and runs no handlers of
    os.register_at_fork. Raises OSError.
    """
    pid = os.getpid()
    if pid not in _places:
        _places.clear()
        _places[pid] = _thread_id_address()
    place = _places[pid]
    flags = _CLONE_PARENT | (_CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID if place else 0)
    # flags, pidfd, child_tid, parent_tid, exit_signal (our own, with this flag), stack, its size, tls
    words = (flags, 0, place, 0, 0, 0, 0, 0)
    arguments = b"".join(word.to_bytes(8, "little") for word in words)
    return call("clone3", address_of(arguments), len(arguments))


def _thread_id_address() -> int:
    """Where the C library keeps this thread's number, which it sets anew after a fork of its own.

    Found by its value in the thread's description, where that is there once; else 0. A stale number
    there would only be missed by locks that ask who holds them.
    """
    number = os.getpid().to_bytes(4, "little")
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        memory.seek(get_ident())
        description = memory.read(_THREAD_DESCRIPTION_BYTES)
    places = [at for at in range(0, len(description) - 3, 4) if description[at : at + 4] == number]
    return get_ident() + places[0] if len(places) == 1 else 0
