"""Reading from connections into one buffer.

asyncio's plain protocols get a new object of 256 KiB for each read, most of which is given back at
once: a quarter of what a call costs. One buffer does for all connections of a loop, since what is in
it is copied before anything else is read.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod

_SIZE = 256 << 10


class _Buffer(threading.local):
    """A loop runs in one thread, and there may be several loops."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_SIZE))


_buffer = _Buffer()


class Reading(asyncio.BufferedProtocol, ABC):
    """A protocol that is given bytes, as asyncio.Protocol is."""

    def get_buffer(self, sizehint: int) -> memoryview:
        """asyncio: where to read into."""
        return _buffer.view

    def buffer_updated(self, nbytes: int) -> None:
        """asyncio: so many bytes are in it."""
        self.data_received(bytes(_buffer.view[:nbytes]))

    @abstractmethod
    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
