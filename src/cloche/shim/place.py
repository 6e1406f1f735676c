"""Where the warm parent of a caller listens, and who founds it where there is none.

The launcher (native/warm.h) looks in the same place under the same name.
"""

from __future__ import annotations

import fcntl
import os
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_SEQPACKET, SOL_SOCKET, socket

from cloche.shim import sockets

DEFAULT_STATE = "/run/cloche"
KIND = SOCK_SEQPACKET

_NAMESPACES = ("mnt", "pid", "net", "user")
_WRITABLE_BY_OTHERS = 0o022
_PATIENCE_S = 10.0


class Place:
    """A directory for sockets of warm parents, kept open, and the name in it that is ours.

    program: the launcher's path; a new installation makes it another file, and so another name.
    Raises OSError where there can be none: a directory that is not to be made, or not ours alone.
    """

    def __init__(self, program: str) -> None:
        path = f"{os.environ.get('CLOCHE_STATE') or DEFAULT_STATE}/warm"
        os.makedirs(os.path.dirname(path), 0o711, exist_ok=True)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        self.name = name_for(program)
        self.directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        status = os.fstat(self.directory)
        if status.st_uid != os.geteuid() or status.st_mode & _WRITABLE_BY_OTHERS:
            os.close(self.directory)
            raise PermissionError(1, "not a directory of this user alone", path)

    def found(self) -> socket | None:
        """A listener for a warm parent, which is to be forked soon; None where there is one.

        From now on others find it, and wait in its queue until there is somebody to answer.
        """
        path = f"/proc/self/fd/{self.directory}/{self.name}"  # short enough wherever the folder is
        fcntl.flock(self.directory, fcntl.LOCK_EX)
        try:
            return None if sockets.is_served(path, KIND) else sockets.listen(path, KIND)
        finally:
            fcntl.flock(self.directory, fcntl.LOCK_UN)

    def ask(self, link: int) -> None:
        """Have the warm parent that listens here fork the worker that we should be, and end.

        link: to our parent, the holder, which asks in the same way (native/hold.h). Returns where nobody
        listens.
        """
        channel = socket(AF_UNIX, KIND | SOCK_CLOEXEC)
        try:
            channel.connect(f"/proc/self/fd/{self.directory}/{self.name}")
            holder = os.open(f"/proc/{os.getppid()}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            rights = b"".join(number.to_bytes(4, "little") for number in (holder, link))
            channel.sendmsg([b"1"], [(SOL_SOCKET, SCM_RIGHTS, rights)])
            # Until it is forked: the link must not seem to be left by everybody.
            channel.settimeout(_PATIENCE_S)
            channel.recv(1)
        except OSError:
            return
        os._exit(0)


def name_for(program: str) -> str:
    """User, namespaces and build of whoever asks, as numbers with dashes between."""
    namespaces = [os.readlink(f"/proc/self/ns/{kind}").strip(f"{kind}:[]") for kind in _NAMESPACES]
    build = os.stat(program)
    seconds, nanoseconds = divmod(build.st_ctime_ns, 1_000_000_000)
    return "-".join(map(str, (os.geteuid(), *namespaces, build.st_ino, seconds, nanoseconds)))
