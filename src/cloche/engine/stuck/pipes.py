"""Waiting at a pipe, a fifo or a terminal: for something to read, for room to write, for the other end."""

from __future__ import annotations

import os
import shlex

from cloche.engine.stuck.findings import Wait, named
from cloche.kernel import threads
from cloche.kernel.open_files import opened, others

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.kernel.open_files import Opened
    from cloche.kernel.threads import Thread

_READING = ("read", "readv", "pread64", "splice", "tee", "sendfile")
_WRITING = ("write", "writev", "pwrite64")
_SHOWN = 3


def explain(thread: Thread) -> Wait | None:
    """What a thread waits for that reads, writes or opens a pipe, fifo or terminal; None else."""
    if thread.call in ("open", "openat", "openat2") and thread.is_in("fifo_open", "wait_for_partner"):
        return _partner(thread)
    if thread.call not in (*_READING, *_WRITING):
        return None
    one = opened(thread.pid, thread.argument(0))
    if one is None:
        return None
    if thread.is_in("pipe_", "anon_pipe_", "wait_for_space", "ipipe_", "opipe_"):
        return _empty(thread, one) if thread.call in _READING else _full(thread, one)
    if thread.is_in("n_tty_write", "tty_write", "file_tty_write"):
        return Wait(
            f"room in the terminal {one.target}, whose other end nobody reads",
            _ends(thread, one, writers=False),
        )
    if thread.is_in("n_tty_read", "tty_read"):
        return Wait(f"something typed at the terminal {one.target}", stuck=False)
    return None


def _partner(thread: Thread) -> Wait:
    place = 0 if thread.call == "open" else 1
    path = threads.text_at(thread.pid, thread.arguments[place])
    # openat2 has its flags behind a pointer.
    flags = thread.argument(place + 1) if thread.call != "openat2" else os.O_RDONLY
    reading = flags & os.O_ACCMODE == os.O_RDONLY
    real = f"/proc/{thread.pid}/root{path}" if path.startswith("/") else f"/proc/{thread.pid}/cwd/{path}"
    place_of = shlex.quote(real)
    if reading:
        return Wait(f"somebody to open the fifo {path} for writing", remedy=f": > {place_of}")
    return Wait(
        f"somebody to open the fifo {path} for reading", remedy=f"timeout 1 cat {place_of} > /dev/null"
    )


def _empty(thread: Thread, one: Opened) -> Wait:
    writers = _ends(thread, one, writers=True)
    what = f"data in {_kind(one)}, which is empty"
    return Wait(
        what if writers else f"{what}, and which only itself could write to", writers, f"echo > {_link(one)}"
    )


def _full(thread: Thread, one: Opened) -> Wait:
    readers = _ends(thread, one, writers=False)
    what = f"room in {_kind(one)}, which is full"
    return Wait(
        f"{what}: its readers do not read" if readers else what,
        readers,
        f"timeout 1 cat {_link(one)} > /dev/null",
    )


def _kind(one: Opened) -> str:
    return (
        f"the {one.target.replace(':', ' ')}" if one.target.startswith("pipe:") else f"the fifo {one.target}"
    )


def _link(one: Opened) -> str:
    return f"/proc/{one.pid}/fd/{one.descriptor}"


def _ends(thread: Thread, one: Opened, *, writers: bool) -> str:
    """The other processes that have an end of the same pipe, by name."""
    pids = {
        other.pid
        for other in others(one)
        if other.pid != thread.pid and (other.writes if writers else other.reads)
    }
    pids.discard(os.getpid())
    shown = [named(pid) for pid in sorted(pids)[:_SHOWN]]
    more = [f"and {len(pids) - _SHOWN} more"] if len(pids) > _SHOWN else []
    return ", ".join([*shown, *more])
