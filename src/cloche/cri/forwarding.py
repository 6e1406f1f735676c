"""Connections to ports of a pod: made in its network namespace, used from here."""

from __future__ import annotations

import asyncio
import os
import socket
import threading

from cloche.errors import FailedPrecondition, Unavailable
from cloche.kernel.syscalls import setns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cri.inventory import Pod

_CLONE_NEWNET = 0x40000000
_LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


async def connect(pod: Pod, port: int) -> socket.socket:
    """A connection to a TCP port on the pod's loopback interface, nonblocking.

    Raises FailedPrecondition for a pod that does not run, Unavailable where nobody listens.
    """
    if not pod.is_ready:
        raise FailedPrecondition(f"sandbox {pod.id}: is not running")
    loop = asyncio.get_running_loop()
    failure: OSError | None = None
    for family, address in _LOOPBACK:
        made = await asyncio.to_thread(_socket, family, pod.kept.netns)
        try:
            await loop.sock_connect(made, (address, port))
        except OSError as error:
            failure = error
            made.close()
        else:
            return made
    reason = failure.strerror if failure else "no address"
    raise Unavailable(f"sandbox {pod.id}: port {port}: {reason}")


def _socket(family: int, netns: str) -> socket.socket:
    """A socket that belongs to a network namespace, "" for our own.

    A socket stays where it was made, so a thread of its own enters, makes it, and ends: no other
    thread is ever somewhere else. Nothing but the network is another there.
    """
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def work() -> None:
        try:
            if netns:
                namespace = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    setns(namespace, _CLONE_NEWNET)
                finally:
                    os.close(namespace)
            made.append(socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="cri-forward")
    thread.start()
    thread.join()
    if failed:
        raise Unavailable(f"{netns}: {failed[0].strerror}")
    return made[0]
