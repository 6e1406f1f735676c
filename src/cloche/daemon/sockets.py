"""The daemon's sockets: one daemon for each state directory, and nobody else's path is touched.

A socket is bound under another name, given its mode and owner, set to listen, and only then renamed
into place: who finds it can connect, and who may not never could.
"""

from __future__ import annotations

import os
import socket
import stat

from cloche.errors import FailedPrecondition, InvalidArgument
from cloche.store import locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping

MODE = 0o660
_BACKLOG = 1024
_FIRST_INHERITED = 3


class StateLock:
    """Held as long as the daemon runs; the kernel lets go of it when the process ends, however it does."""

    def __init__(self, state: str) -> None:
        """Raises FailedPrecondition where another daemon has it, OSError."""
        os.makedirs(state, 0o711, exist_ok=True)
        path = os.path.join(state, "cloched.lock")
        descriptor = locks.claim(path)
        if descriptor is None:
            with open(path, encoding="ascii", errors="replace") as file:
                owner = file.read(20).strip()
            raise FailedPrecondition(
                f"{state} is in use by another cloched (process {owner}): stop it or use another --state"
            )
        self._fd = descriptor
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let another daemon have the state directory."""
        os.close(self._fd)


class Listener:
    """A listening socket. made: device and inode of the file, None where it is not ours."""

    def __init__(self, listening: socket.socket, path: str, made: tuple[int, int] | None) -> None:
        self.socket = listening
        self.path = path
        self.made = made

    def remove(self) -> None:
        """Unlink the file, if it is still the one that we made."""
        if self.made is None:
            return
        try:
            found = os.lstat(self.path)
        except OSError:
            return
        if (found.st_dev, found.st_ino) == self.made:
            os.unlink(self.path)


def bind(path: str, *, uid: int = -1, gid: int = -1, mode: int = MODE) -> Listener:
    """Listen on a unix socket at an absolute path, below a directory that is made where it is missing.

    uid, gid: who owns it; -1 for ourselves. A socket that nobody answers on is replaced.
    Raises FailedPrecondition where somebody answers or something else is there, InvalidArgument for
    a path that is too long, OSError.
    """
    if not os.path.isabs(path):
        raise InvalidArgument(f"socket {path!r}: the path has to be absolute")
    if len(os.fsencode(path)) > 107:
        raise InvalidArgument(f"socket {path!r}: longer than 107 bytes, so that no client could name it")
    directory, name = os.path.split(path)
    os.makedirs(directory, 0o711, exist_ok=True)
    _refuse_taken(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    new = f".{name}.{os.getpid()}"
    try:
        _make(listening, place, new, uid=uid, gid=gid, mode=mode)
        made = os.stat(new, dir_fd=place, follow_symlinks=False)
        os.rename(new, name, src_dir_fd=place, dst_dir_fd=place)
    except BaseException:
        listening.close()
        _unlink(new, place)
        raise
    finally:
        os.close(place)
    return Listener(listening, path, (made.st_dev, made.st_ino))


def _make(listening: socket.socket, place: int, name: str, *, uid: int, gid: int, mode: int) -> None:
    _unlink(name, place)  # of a process that had our number and was killed here
    through = f"/proc/self/fd/{place}/{name}"  # a path that is short whatever the directory's is
    listening.bind(through)
    os.chmod(through, mode)
    os.chown(through, uid, gid)
    listening.listen(_BACKLOG)


def _unlink(name: str, place: int) -> None:
    try:
        os.unlink(name, dir_fd=place)
    except FileNotFoundError:
        pass


def _refuse_taken(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FailedPrecondition(f"{path} is there and is no socket: remove it, or use another --address")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError:
            pass  # a full backlog, or no right to connect: somebody is there
    raise FailedPrecondition(f"somebody answers at {path}: stop that daemon, or use another --address")


def inherited(environment: MutableMapping[str, str]) -> list[Listener]:
    """The sockets that systemd listens on for us (sd_listen_fds(3)).

    environment: is rid of the variables, which are not for our children. Raises InvalidArgument for
    a descriptor that is no listening stream socket.
    """
    count, pid = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_PID", "")
    environment.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    return [_inherit(fd) for fd in range(_FIRST_INHERITED, _FIRST_INHERITED + int(count))]


def _inherit(fd: int) -> Listener:
    try:
        listening = socket.socket(fileno=fd)
        if not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError("it does not listen")
    except OSError as error:
        raise InvalidArgument(f"descriptor {fd} from systemd is no listening socket: {error}") from None
    listening.set_inheritable(False)
    listening.setblocking(False)
    name = listening.getsockname()
    return Listener(listening, name if isinstance(name, str) else "", None)
