"""Network namespaces of pods: pinned where CNI plugins and runtimes find them, with or without a process.

Our own runtime makes a pod's with its holder, so that a user namespace of the pod owns it. Others want
one that is there before (runsc refuses a new one of its own).
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import threading

from cloche.errors import FailedPrecondition
from cloche.kernel.syscalls import MNT_DETACH, mount, setns, umount2, unshare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CLONE_NEWNET = 0x40000000
_MS_BIND = 4096
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1


def make(path: str) -> None:
    """Make one with its loopback interface up, and pin it. Raises FailedPrecondition."""
    _place(path)

    def work() -> None:
        unshare(_CLONE_NEWNET)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
        mount(f"/proc/self/task/{threading.get_native_id()}/ns/net", path, "", _MS_BIND, "")

    try:
        _apart(work)
    except FailedPrecondition:
        os.unlink(path)
        raise


def pin(path: str, pid: int) -> None:
    """Keep the one of a process, which may end. Raises OSError."""
    _place(path)
    mount(f"/proc/{pid}/ns/net", path, "", _MS_BIND, "")


def unpin(path: str) -> None:
    """Let go of one. Can be repeated."""
    if not os.path.lexists(path):
        return
    try:
        while True:
            umount2(path, MNT_DETACH)
    except OSError as error:
        # Nothing (more) is mounted there.
        if error.errno != errno.EINVAL:
            raise
    os.unlink(path)


def open_socket(path: str, family: int) -> socket.socket:
    """A TCP socket that belongs to one, nonblocking; to our own for "". Raises FailedPrecondition."""
    made: list[socket.socket] = []

    def work() -> None:
        if path:
            namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                setns(namespace, _CLONE_NEWNET)
            finally:
                os.close(namespace)
        made.append(socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))

    _apart(work)
    return made[0]


def _place(path: str) -> None:
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))


def _apart(work: Callable[[], None]) -> None:
    """Do something in a thread of its own, which is in another network from then on, and ends.

    No other thread is ever somewhere else; and nothing but the network is another there.
    """
    failed: list[OSError] = []

    def run() -> None:
        try:
            work()
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="cri-netns")
    thread.start()
    thread.join()
    if failed:
        raise FailedPrecondition(f"network namespace: {failed[0].strerror}")
