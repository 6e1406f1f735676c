"""The socket by which others attach to a container, in its run directory."""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM
from _socket import socket as _socket

from cloche.errors import Unavailable

SOCKET = "attach.sock"


def bind_in(listener: _socket, directory: str) -> None:
    """Bind to the socket's name in a directory of any length (sun_path holds 107 bytes only)."""
    remove_file(f"{directory}/{SOCKET}")
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{descriptor}/{SOCKET}")
        os.chmod(f"{directory}/{SOCKET}", 0o600)
    finally:
        os.close(descriptor)


def connect(directory: str) -> _socket:
    """A connection to the parent of the container with this run directory.

    Raises Unavailable where nobody listens.
    """
    connection = _socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{descriptor}/{SOCKET}")
        finally:
            os.close(descriptor)
    except OSError:
        connection.close()
        raise Unavailable("the container's parent cannot be reached: has it ended?") from None
    return connection


def remove_file(path: str) -> None:
    """Unlink; one that is gone does not matter."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
