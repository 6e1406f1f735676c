"""The socket that NRI's plugins connect to. Without it pods run all the same, so its errors are warnings."""

from __future__ import annotations

import logging

from cloche.daemon.sockets import bind
from cloche.engine.tasks.accepting import Acceptor
from cloche.errors import ClocheError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from cloche.cri.nri.service import Nri
    from cloche.daemon.sockets import Listener

_log = logging.getLogger("cloche.nri")

_MODE = 0o600
"""Whoever can connect can change what runs as root."""


class NriSocket:
    """See the module."""

    def __init__(self, listener: Listener, nri: Nri) -> None:
        self._listener = listener
        self._acceptor = Acceptor(listener.socket, lambda _: nri.connected())

    @classmethod
    def open(cls, path: str, nri: Nri) -> Self | None:
        """Take connections at a path; None where it cannot be had, such as where another daemon has it."""
        try:
            return cls(bind(path, mode=_MODE), nri)
        except (ClocheError, OSError) as error:
            _log.warning("no plugin can connect: %s: set socket_path of io.containerd.nri.v1.nri", error)
            return None

    async def close(self) -> None:
        """Take no more."""
        self._listener.remove()
        await self._acceptor.close()
