"""Sockets of another network namespace, opened by a thread that ends there.

Only the thread changes its namespace, and only the network's: nothing of ours can be seen inside, and
its files, processes and credentials are never entered. The socket works in that namespace from then on,
whoever has it.
"""

from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread

from cloche.kernel.syscalls import setns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _Value = TypeVar("_Value")

_CLONE_NEWNET = 0x40000000


def within(namespace: int, make: Callable[[], _Value]) -> _Value:
    """What `make` returns when it is called in a network namespace, given by descriptor.

    Raises OSError where that cannot be entered, and whatever `make` raises.
    """
    values: list[_Value] = []
    errors: list[BaseException] = []
    done = allocate_lock()
    done.acquire()

    def work() -> None:
        try:
            setns(namespace, _CLONE_NEWNET)
            values.append(make())
        except BaseException as error:
            errors.append(error)
        finally:
            done.release()

    start_new_thread(work, ())
    with done:
        if errors:
            raise errors[0]
        return values[0]


def of_process(pid: int) -> int:
    """A descriptor of a process's network namespace. Raises OSError."""
    return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
