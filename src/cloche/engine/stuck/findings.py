"""What is found out about a process that waits, as values."""

from __future__ import annotations

from cloche.kernel import threads
from cloche.spec.record import Record

STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "uninterruptible",
    "T": "stopped",
    "t": "traced",
    "Z": "zombie",
    "X": "dead",
    "I": "idle",
}


class Wait(Record):
    """What one thread waits for, in words.

    holder: who has it, or who is to act; empty where nobody in particular is. remedy: a command that
    frees the thread; empty where there is none. stuck: False for what is a program's ordinary waiting.
    """

    what: str
    holder: str = ""
    remedy: str = ""
    stuck: bool = True


class Finding(Record):
    """A thread with what it waits for, or a condition of the whole container (pid 0).

    state: in words. wchan, stack: where in the kernel it sleeps, the innermost function first.
    """

    pid: int
    tid: int
    name: str
    state: str
    waits_for: str
    holder: str
    remedy: str
    stuck: bool
    wchan: str = ""
    stack: tuple[str, ...] = ()
    command: str = ""

    @classmethod
    def of_thread(cls, thread: threads.Thread, wait: Wait, command: str) -> Finding:
        """A thread's finding."""
        return cls(
            thread.pid,
            thread.tid,
            thread.name,
            STATES.get(thread.state, thread.state),
            wait.what,
            wait.holder,
            wait.remedy,
            wait.stuck,
            thread.wchan,
            thread.stack,
            command,
        )

    @classmethod
    def of_container(cls, wait: Wait) -> Finding:
        """What concerns all processes of the container."""
        return cls(0, 0, "container", "", wait.what, wait.holder, wait.remedy, wait.stuck)


def named(pid: int) -> str:
    """A process as findings name it: `4711 (sh)`."""
    found = threads.thread(pid)
    return f"{pid} ({found.name})" if found else str(pid)
