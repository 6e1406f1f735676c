"""A shim's life: what it is told at its start, and its serving until nothing is left to serve."""

from __future__ import annotations

from cloche.errors import Unimplemented
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import NoReturn


class Settings(Record):
    """What `start` tells the process that serves.

    shim_id: the container or sandbox it was started for. address, ttrpc_address: containerd's own
    sockets; the second takes events, and is empty where nobody does. bundle: the working directory of
    `start`. socket_path: what the listener is bound to; unlinked at the end. publish_binary: who
    publishes events where ttrpc_address is empty. version: the newest task service that is offered.
    """

    shim_id: str
    namespace: str
    address: str
    ttrpc_address: str
    bundle: str
    socket_path: str
    publish_binary: str = ""
    debug: bool = False
    version: int = 2


def serve(settings: Settings, listener: socket) -> NoReturn:
    """Serve until Shutdown finds no container. Called after the fork; does not return."""
    raise Unimplemented(f"the shim {settings.shim_id!r} cannot serve yet on {listener.fileno()}")
