"""The console socket: how the master of a pty gets to the one who will hold it."""

from __future__ import annotations

from cloche.errors import FailedPrecondition

# What runc names its masters, too: receivers log it or ignore it.
_MASTER_NAME = b"/dev/ptmx"


class ConsoleSocket:
    """A connection to a listening unix socket, made before anything else so that it can fail early.

    path: empty means there is none, and send must not be called. A context manager.
    """

    def __init__(self, path: str) -> None:
        self._socket = None
        if not path:
            return
        import _socket

        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise FailedPrecondition(f"--console-socket {path}: {error.strerror or error}") from None

    def send(self, master: int) -> None:
        """Send a copy of a pty master's descriptor; the caller keeps its own. Raises OSError."""
        import _socket
        import sys

        if self._socket is None:
            raise FailedPrecondition("there is no console socket to send the pty to")
        rights = master.to_bytes(4, sys.byteorder)
        self._socket.sendmsg([_MASTER_NAME], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])

    def __enter__(self) -> ConsoleSocket:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()
