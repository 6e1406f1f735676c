"""A process's standard streams, opened as a client wishes.

open_stdio      what the URIs name is opened, which waits for no client
(create)        the process gets `child`, or a terminal of its own
close_child     · attach_console     output and input move in the loop
finish          what the process left is handed on, and then everything is closed
close           nothing more is kept for a late reader
"""

from __future__ import annotations

from cloche.shim.stdio.opener import Opener
from cloche.shim.stdio.process import DRAIN_S, Stdio
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.shim.loop import Loop

# How long a logging program may take to get ready. containerd waits for ever.
READY_S = 30.0

__all__ = ["Stdio", "Uris", "open_stdio"]


class Uris(Record):
    """Where stdin comes from and output goes, as in CreateTaskRequest; a terminal has no stderr."""

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False


def open_stdio(
    loop: Loop,
    uris: Uris,
    *,
    container_id: str,
    namespace: str,
    owner: tuple[int, int] | None = None,
    drain_s: float = DRAIN_S,
    ready_s: float = READY_S,
) -> Stdio:
    """Open what the URIs name. May be called from any thread.

    container_id, namespace: what a logging program is told. owner: uid and gid that own the pipes of
    the process; None leaves them to this process's user. drain_s: see Stdio.finish. ready_s: how long
    a logging program may take to get ready, which this call waits for; nothing else makes it wait.
    Raises InvalidArgument for a URI that makes no sense; NotFound, PermissionDenied,
    FailedPrecondition or DeadlineExceeded for what cannot be opened; OSError when there are no
    descriptors left. Then nothing is left.
    """
    environment = {"CONTAINER_ID": container_id, "CONTAINER_NAMESPACE": namespace}
    stdio = Stdio(loop, drain_s=drain_s)
    opener = Opener(loop, stdio, owner, environment, ready_s)
    opener.open(uris.stdin, uris.stdout, uris.stderr, terminal=uris.terminal)
    loop.call_soon(stdio.begin)
    return stdio
