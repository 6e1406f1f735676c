"""The socket over which a runtime hands out the master of a container's terminal."""

from __future__ import annotations

import _socket
import os
import select
import sys

from cloche.errors import FailedPrecondition

_NAME = ".console"
# The runtime has ended by then, so what it sent is there already.
_TIMEOUT_MS = 2000


class ConsoleSocket:
    """Listens in a directory for as long as a `with` block lasts.

    path: what the runtime is told. It leads through a descriptor of ours: a bundle's own path is
        longer than the 107 bytes that a socket's may have.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._name = f"{_NAME}-{os.urandom(4).hex()}"
        self.path = ""

    def __enter__(self) -> ConsoleSocket:
        self._place = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
        self.path = f"/proc/{os.getpid()}/fd/{self._place}/{self._name}"
        try:
            self._listener.bind(self.path)
            os.chmod(self.path, 0o600)
            self._listener.listen(1)
        except OSError:
            self.__exit__()
            raise
        return self

    def take(self) -> int:
        """The master that was sent, which is the caller's. Raises FailedPrecondition when none was."""
        if not _readable(self._listener.fileno()):
            raise FailedPrecondition(
                "the runtime has sent no terminal: nobody connected to the console socket"
            )
        descriptor, _ = self._listener._accept()  # type: ignore[attr-defined]  # socket.accept's core
        connection = _socket.socket(fileno=descriptor)
        try:
            if not _readable(descriptor):
                raise FailedPrecondition("the runtime has sent no terminal over the console socket")
            _, ancillary, _, _ = connection.recvmsg(4096, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
            return _descriptor(ancillary)
        finally:
            connection.close()

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        try:
            os.unlink(self._name, dir_fd=self._place)
        except FileNotFoundError:
            pass
        os.close(self._place)


def _descriptor(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, content in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS) and len(content) >= 4:
            return int.from_bytes(content[:4], sys.byteorder, signed=True)
    raise FailedPrecondition("the runtime has sent a message without a terminal over the console socket")


def _readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(_TIMEOUT_MS))
