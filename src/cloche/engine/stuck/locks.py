"""Waiting for a lock: of a file, held by another process, or of a program's own threads."""

from __future__ import annotations

import os

from cloche.engine.stuck.findings import Wait, named
from cloche.kernel import threads
from cloche.kernel.file_locks import file_locks
from cloche.kernel.open_files import descriptors, opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.kernel.file_locks import FileLock
    from cloche.kernel.threads import Thread

_SET_AND_WAIT = (7, 38)  # F_SETLKW and F_OFD_SETLKW
_FUTEX_COMMAND = 0x7F
_LOCK_PI = (6, 13)
_WAITERS_AND_TID = 0x3FFFFFFF
# Where glibc's and musl's mutexes keep the thread that holds them, counted from the futex.
_OWNER_OFFSETS = (8, 0)


def explain(thread: Thread) -> Wait | None:
    """Who holds the lock that a thread waits for; None for one that waits for no lock."""
    if thread.call == "flock" or (thread.call == "fcntl" and thread.argument(1) in _SET_AND_WAIT):
        return _file_lock(thread)
    if thread.call == "futex":
        return _futex(thread)
    if thread.call in ("futex_waitv", "futex_wait"):
        return Wait("another thread to wake it (futex)", stuck=False)
    return None


def _file_lock(thread: Thread) -> Wait:
    one = opened(thread.pid, thread.argument(0))
    path = one.target if one else f"descriptor {thread.argument(0)}"
    lock = next(
        (lock for lock in file_locks() if thread.pid in lock.waiting or thread.tid in lock.waiting), None
    )
    if lock is None:
        return Wait(f"the lock of {path}, whose holder is not to be seen from here")
    pids = _holders(lock)
    word = "the lock" if lock.exclusive else "the shared lock"
    holder = ", ".join(named(pid) for pid in pids)
    remedy = f"kill {' '.join(str(pid) for pid in pids)}" if pids else ""
    return Wait(f"{word} of {path}, which another process holds", holder, remedy)


def _holders(lock: FileLock) -> list[int]:
    """Processes with a descriptor that has the lock; /proc/locks may name one that passed it on and ended."""
    if lock.pid > 0 and (lock.kind == "POSIX" or _has_it(lock.pid, lock)):
        return [lock.pid]
    return sorted({pid for pid in _processes() if _has_it(pid, lock)})


def _has_it(pid: int, lock: FileLock) -> bool:
    mark = f"{lock.device[0]:02x}:{lock.device[1]:02x}:{lock.inode}"
    return any(mark in line.split() for one in descriptors(pid) for line in one.locks)


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _futex(thread: Thread) -> Wait:
    if (thread.arguments[1] & _FUTEX_COMMAND) in _LOCK_PI:
        owner = (threads.word_at(thread.pid, thread.arguments[0]) or 0) & _WAITERS_AND_TID
    else:
        owner = 0
    holder = _thread_of(thread, owner) if owner else _mutex_owner(thread)
    if holder is not None:
        return Wait(
            "a lock of its own program (futex), which another of its threads holds",
            f"thread {holder.tid} ({holder.name})",
        )
    # A condition variable of an idle worker looks the same as a wake-up that was lost.
    return Wait("another thread to wake it (futex)", stuck=False)


def _mutex_owner(thread: Thread) -> Thread | None:
    for offset in _OWNER_OFFSETS:
        value = threads.word_at(thread.pid, thread.arguments[0] + offset)
        found = _thread_of(thread, (value or 0) & _WAITERS_AND_TID)
        if found is not None:
            return found
    return None


def _thread_of(waiting: Thread, inner: int) -> Thread | None:
    """The thread of the same process that has this number inside of its pid namespace."""
    if not inner:
        return None
    others = (other for other in threads.threads(waiting.pid) if other.tid != waiting.tid)
    return next((other for other in others if other.inner == inner), None)
