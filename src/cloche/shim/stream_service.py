"""What our own daemon asks of a shim about streams: logs that were renamed, and people who attach."""

from __future__ import annotations

from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM
from _socket import socket as _socket

from cloche.errors import FailedPrecondition
from cloche.shim.attachment import bind_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.shim.containers import Container, Shim
    from cloche.shim.server import Call, Handler
    from cloche.shim.stdio.process import Stdio
    from cloche.wire.messages.shim_streams import ReopenLogsRequest, ServeAttachRequest

_BACKLOG = 16


class StreamService:
    """Answers for the first processes of a shim's containers."""

    def __init__(self, shim: Shim) -> None:
        self._shim = shim

    def handlers(self) -> dict[str, Handler]:
        """By the methods' names."""
        return {"ReopenLogs": self.reopen_logs, "ServeAttach": self.serve_attach}

    def reopen_logs(self, request: ReopenLogsRequest, call: Call) -> None:
        """Go on in new files."""
        _stdio(self._shim.container(request.id)).reopen_logs()
        call.answer()

    def serve_attach(self, request: ServeAttachRequest, call: Call) -> None:
        """Let others attach, by a socket in the bundle. Asked again, it is there."""
        container = self._shim.container(request.id)
        stdio = _stdio(container)
        if not stdio.is_attachable:
            listener = _socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
            bind_in(listener, container.bundle)
            listener.listen(_BACKLOG)
            stdio.serve_attach(listener, input_ends=request.input_ends)
        call.answer()


def _stdio(container: Container) -> Stdio:
    if container.init.stdio is None or container.init.ended is not None:
        raise FailedPrecondition(f"container {container.id}: has ended: its streams are closed")
    return container.init.stdio
