"""How a listening socket's connections are taken, and what happens when there is no room for one more."""

from __future__ import annotations

import asyncio
import logging
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

_log = logging.getLogger("cloche.connections")

AT_ONCE = 64
"""Connections that are taken before those that are there have their turn again."""
REST_S = 0.2
"""With no descriptor left, clients wait in the backlog for so long before we look again."""
_BEGINNING_S = 1.0


class Acceptor:
    """Takes connections from a socket that listens, which is ours from now on; asyncio.

    asyncio's own server says a traceback for each client of the backlog, again and again, while the
    process has no descriptor left (EMFILE); and it loses the connections it has accepted in the
    moment in which it is closed. protocol: makes one for each connection, to which it may write a few bytes
    at once, before asyncio takes its turns to make a transport. tls: None for plain text.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[socket.socket], asyncio.BaseProtocol],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._listener = listener
        self._protocol = protocol
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[None]] = set()
        self._resting: asyncio.TimerHandle | None = None
        self._full = False
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as error:
                if error.errno not in (EMFILE, ENFILE, ENOBUFS, ENOMEM):
                    raise
                self._rest(error)
                return
            connection.setblocking(False)
            beginning = self._loop.create_task(self._begin(connection, self._protocol(connection)))
            self._beginning.add(beginning)
            beginning.add_done_callback(self._beginning.discard)
        self._full = False

    async def _begin(self, connection: socket.socket, protocol: asyncio.BaseProtocol) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, connection, ssl=self._tls)
        except OSError as error:
            # Its handshake failed: what that means to a client, TLS has told it.
            _log.debug("a client did not come in: %s", error)
            connection.close()

    def _rest(self, error: OSError) -> None:
        if not self._full:
            self._full = True
            _log.warning(
                "clients have to wait, since no connection can be taken: %s (raise LimitNOFILE)",
                error.strerror,
            )
        self._loop.remove_reader(self._listener)
        self._resting = self._loop.call_later(REST_S, self._loop.add_reader, self._listener, self._accept)

    async def close(self) -> None:
        """Take no more; those that were taken have begun when this returns."""
        if self._resting is not None:
            self._resting.cancel()
        self._loop.remove_reader(self._listener)
        if self._beginning:
            await asyncio.wait(self._beginning, timeout=_BEGINNING_S)
        self._listener.close()
