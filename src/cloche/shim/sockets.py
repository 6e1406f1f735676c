"""The sockets that shims listen on, where containerd looks for them.

Whoever binds holds a lock on the directory: of two `start` for one pod at once the second finds
the first one's socket listening, and a socket that a dead shim has left is never taken for one that
is just being made.
"""

from __future__ import annotations

import fcntl
import os
import posixpath
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM
from _socket import socket as _socket
from stat import S_ISSOCK

from cloche.errors import InvalidArgument
from cloche.spec import digest

DEFAULT_DIRECTORY = "/run/containerd/s"

_LONGEST = 107  # sun_path without its last NUL
_BACKLOG = 4096


def path_of(directory: str, address: str, namespace: str, name: str) -> str:
    """The socket of a shim in that directory ("" for the default one).

    The digest of containerd's address, the namespace and the name (the task's id, or the group's),
    put together as a path: so containerd's own shim names it, and finds it again.
    """
    parts = "/".join(part for part in (address, namespace, name) if part)
    joined = posixpath.normpath(parts)
    if joined.startswith("//"):
        joined = joined[1:]
    file_name = digest.of(os.fsencode(joined)).partition(":")[2]
    return f"{directory or DEFAULT_DIRECTORY}/{file_name}"


def claim(path: str) -> _socket | None:
    """A listener at a path; None where somebody listens there already.

    Its mode is 0600. Raises InvalidArgument for a path that is too long for a socket.
    """
    if len(os.fsencode(path)) > _LONGEST:
        raise InvalidArgument(
            f"the shim's socket would be {path!r}: a socket's path may have {_LONGEST} bytes; "
            "choose a shorter socket_dir"
        )
    directory = posixpath.dirname(path)
    os.makedirs(directory, 0o700, exist_ok=True)
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return None if is_served(path) else listen(path)
    finally:
        os.close(lock)


def remove_unserved(path: str) -> None:
    """Unlink the socket that a dead shim has left; nothing where somebody listens, or it is no socket."""
    try:
        lock = os.open(posixpath.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if S_ISSOCK(os.lstat(path).st_mode) and not is_served(path):
            remove(path)
    except FileNotFoundError:
        return
    finally:
        os.close(lock)


def listen(path: str, kind: int = SOCK_STREAM) -> _socket:
    """A listener at a path, in the place of what is there. The caller holds the directory's lock."""
    remove(path)
    listener = _socket(AF_UNIX, kind | SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        listener.bind(path)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        error.filename = path
        raise
    finally:
        os.umask(before)
    return listener


def is_served(path: str, kind: int = SOCK_STREAM) -> bool:
    """Whether somebody listens at a socket."""
    probe = _socket(AF_UNIX, kind | SOCK_CLOEXEC)
    try:
        # One whose backlog is full is served, too: it answers EAGAIN instead of holding us up.
        probe.setblocking(False)
        probe.connect(path)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        probe.close()
    return True


def remove(path: str) -> None:
    """Unlink a socket, where it is there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
