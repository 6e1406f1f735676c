"""The client's end of a connection over a unix socket, whatever is spoken over it."""

from __future__ import annotations

import asyncio

from cloche.engine.tasks.reading import Reading
from cloche.errors import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self


class Dialing(Reading):
    """A protocol that is made by connecting it."""

    @classmethod
    async def connect(cls, path: str) -> Self:
        """Connect to a unix socket. Raises Unavailable where nobody answers."""
        loop = asyncio.get_running_loop()
        try:
            _, channel = await loop.create_unix_connection(cls, path)
        except OSError as error:
            raise Unavailable(f"{path}: {error.strerror or error}") from None
        return channel

    @staticmethod
    def hang_up(transport: asyncio.Transport) -> None:
        """Close the connection; what could not be sent is lost."""
        if transport.get_write_buffer_size():
            # A server that reads no more would keep it open for ever.
            transport.abort()
        else:
            transport.close()
