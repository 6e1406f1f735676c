"""What idle programs wait for: nothing is wrong with that, but it says what they are at."""

from __future__ import annotations

from cloche.engine.stuck.findings import Wait
from cloche.kernel.open_files import opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.kernel.threads import Thread

_WORDS = {
    **dict.fromkeys(("poll", "ppoll", "select", "pselect6"), "one of its descriptors to be ready"),
    **dict.fromkeys(("epoll_wait", "epoll_pwait", "epoll_pwait2"), "events of its descriptors (epoll)"),
    **dict.fromkeys(("nanosleep", "clock_nanosleep"), "time to pass (sleep)"),
    **dict.fromkeys(("pause", "rt_sigsuspend", "rt_sigtimedwait"), "a signal"),
    "io_uring_enter": "an answer of io_uring",
}
_SOCKETS = {
    **dict.fromkeys(("accept", "accept4"), "somebody to connect to"),
    **dict.fromkeys(("recvfrom", "recvmsg", "read", "readv"), "data from"),
    **dict.fromkeys(("sendto", "sendmsg", "write", "writev"), "room in"),
    "connect": "an answer to its connecting by",
}


def explain(thread: Thread) -> Wait:
    """What any other thread waits for, as well as the kernel's names tell."""
    if thread.state == "R":
        return Wait("nothing: it runs", stuck=False)
    if thread.call in _WORDS:
        return Wait(_WORDS[thread.call], stuck=False)
    if thread.call in _SOCKETS:
        one = opened(thread.pid, thread.argument(0))
        if one is not None and one.target.startswith("socket:"):
            return Wait(f"{_SOCKETS[thread.call]} the {one.target.replace(':', ' ')}", stuck=False)
    where = thread.wchan or (thread.stack[0] if thread.stack else "")
    within = f" in {thread.call}" if thread.call else ""
    at = f" ({where})" if where else ""
    return Wait(f"the kernel{within}{at}", stuck=thread.state == "D")
