"""sd_notify(3) through the runtime: a container's "READY=1" reaches the service manager outside.

Where the caller has NOTIFY_SOCKET, the container gets a socket of its own at /run/notify, and its
readiness is handed on together with the pid that the manager should watch.
"""

from __future__ import annotations

import os
import select
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_DGRAM, SOL_SOCKET, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.spec.config import Config

_PLACE = "/run/notify"
_NAME = "notify.sock"
_BARRIER_MS = 30_000
_LONGEST = 4096


class Readiness:
    """The way of one container's readiness to the service manager. A context manager.

    manager: the manager's socket; a name that begins with @ is abstract.
    """

    def __init__(self, manager: str) -> None:
        self._manager = f"\0{manager[1:]}" if manager.startswith("@") else manager
        self._socket: socket | None = None

    @staticmethod
    def directory(folder: str) -> str:
        """What the container sees at /run/notify. folder: the container's state."""
        return f"{folder}/notify"

    def configure(self, config: Config, folder: str) -> None:
        """Add the mount and the variable."""
        options = ["bind", "nosuid", "noexec", "nodev", "ro"]
        mounts = config.setdefault("mounts", [])
        mounts.append({"destination": _PLACE, "source": self.directory(folder), "options": options})
        environment = config["process"].setdefault("env", [])
        environment.append(f"NOTIFY_SOCKET={_PLACE}/{_NAME}")

    def make_directory(self, folder: str) -> None:
        """For a container that `start` will listen to."""
        os.mkdir(self.directory(folder), 0o755)
        os.chmod(self.directory(folder), 0o755)  # noqa: S103 - the container's user is to get there

    def listen(self, folder: str) -> None:
        """Before the program runs: it may have something to say at once."""
        self._socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        directory = os.open(self.directory(folder), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # A socket's name may have no more than 107 bytes, a state folder's many more.
            self._socket.bind(f"/proc/self/fd/{directory}/{_NAME}")
            os.chmod(_NAME, 0o777, dir_fd=directory)  # noqa: S103 - whoever the container's user is
        finally:
            os.close(directory)

    def make_and_listen(self, folder: str) -> None:
        """Both at once, for what starts without a gate."""
        self.make_directory(folder)
        self.listen(folder)

    def forward(self, pidfd: int, main_pid: int) -> None:
        """Wait until the container is ready or has ended; hand its readiness on.

        pidfd: of the container's process. main_pid: what the manager shall watch. Raises OSError
        where the manager's socket does not answer.
        """
        if self._socket is None:
            return
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if self._socket.fileno() in ready:
                words = self._socket.recv(_LONGEST)
                if said := next((line for line in words.split(b"\n") if line.startswith(b"READY=")), b""):
                    self._tell(said, main_pid)
                    return
            elif pidfd in ready:
                return

    def forward_meanwhile(self, pidfd: int) -> None:
        """The same beside what this process does; the manager shall watch this very process."""
        import _thread

        own = os.dup(pidfd)

        def work() -> None:
            try:
                self.forward(own, os.getpid())
            except OSError:
                # A manager that went away has nothing to be told.
                return
            finally:
                os.close(own)

        _thread.start_new_thread(work, ())

    def _tell(self, said: bytes, main_pid: int) -> None:
        manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        try:
            manager.connect(self._manager)
            manager.send(said + b"\n")
            manager.send(b"MAINPID=%d\n" % main_pid)
            _await_barrier(manager)
        finally:
            manager.close()

    def __enter__(self) -> Readiness:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()


def _await_barrier(manager: socket) -> None:
    """sd_notify_barrier(3): go on when the manager has read all that, or after a while."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            rights = writer.to_bytes(4, "little")
            manager.sendmsg([b"BARRIER=1"], [(SOL_SOCKET, SCM_RIGHTS, rights)])
        finally:
            os.close(writer)
        poll = select.poll()
        poll.register(reader, 0)
        poll.poll(_BARRIER_MS)
    finally:
        os.close(reader)
