"""Connections to ports of a pod: made in its network namespace, used from here."""

from __future__ import annotations

import asyncio
import socket

from cloche.cri.network_namespaces import open_socket
from cloche.errors import FailedPrecondition, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cri.inventory import Pod

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
        made = await asyncio.to_thread(open_socket, pod.kept.netns, family)
        try:
            await loop.sock_connect(made, (address, port))
        except OSError as error:
            failure = error
            made.close()
        else:
            return made
    reason = failure.strerror if failure else "no address"
    raise Unavailable(f"sandbox {pod.id}: port {port}: {reason}")
