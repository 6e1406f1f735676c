"""Sockets of the caller's that are sent a descriptor: the master of a pty, a process's pidfd."""

from __future__ import annotations

from cloche.errors import FailedPrecondition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self


class DescriptorSocket:
    """A connection to a listening unix socket, made before anything else so that it can fail early.

    path: empty means there is none, and send must not be called. flag: what the user named it
    with. A context manager.
    """

    def __init__(self, path: str, flag: str) -> None:
        self._socket = None
        self._flag = flag
        if not path:
            return
        import _socket

        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise FailedPrecondition(
                f"--{flag} {path}: {error.strerror or error}: a listening unix socket is needed there"
            ) from None

    @property
    def given(self) -> bool:
        """Whether there is anybody to send to."""
        return self._socket is not None

    def send(self, descriptor: int, name: bytes) -> None:
        """Send a copy of a descriptor, which the caller keeps, with a name for it. Raises OSError."""
        import _socket
        import sys

        if self._socket is None:
            raise FailedPrecondition(f"there is no --{self._flag} to send anything to")
        rights = descriptor.to_bytes(4, sys.byteorder)
        self._socket.sendmsg([name], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()


class ConsoleSocket(DescriptorSocket):
    """Where the master of a pty goes."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "console-socket")

    def send_master(self, master: int) -> None:
        """Send it under the name that runc gives its masters, too: receivers log it or ignore it."""
        self.send(master, b"/dev/ptmx")


class PidfdSocket(DescriptorSocket):
    """Where the pidfd of the process goes, which no later process can be taken for."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "pidfd-socket")

    def send_process(self, pidfd: int, kind: bytes) -> None:
        """Send it where a socket was asked for; nothing happens where none was.

        kind: `standard` for a container's first process, `setns` for one that joined it (as runc).
        """
        if self.given:
            self.send(pidfd, kind)
