"""One of the byte streams in a client's connection, whatever protocol carries it.

client ──came──▶ held here, counted by the line ──read──▶ session
client ◀── carrier, line ◀──write, which waits while the client is behind── session
"""

from __future__ import annotations

import asyncio
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    class Line(Protocol):
        """The connection to the client as what speaks on it sees it."""

        def write(self, data: bytes) -> None:
            """Send bytes, now or as soon as the client takes them."""

        async def drained(self) -> None:
            """Wait while the client is behind with what was sent."""

        def hold(self, size: int) -> None:
            """So many bytes more, or less, wait to be dealt with: with too many nothing is read."""

        def finish(self) -> None:
            """Everything is said: the connection ends, once the client has it all."""

    class Carrier(Protocol):
        """What puts the channels of a connection into one stream of bytes, and takes them apart."""

        line: Line

        def send(self, number: int, data: bytes, *, end: bool = False) -> None:
            """Send on a channel. end: nothing follows."""

        def reset(self, number: int) -> None:
            """Give a channel up."""

        def consumed(self, number: int, size: int) -> None:
            """So many bytes that came on a channel were dealt with."""

        async def drained(self, number: int) -> None:
            """Wait while the client is behind with a channel."""


class ChannelGone(Exception):
    """The client has given the channel up."""


class Channel:
    """One channel.

    headers: what the client said when it opened it. number: the carrier's.
    """

    def __init__(self, carrier: Carrier, number: int, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self.number = number
        self._carrier = carrier
        self._waiting: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._ended = False
        self._gone = False
        self._ignoring = False

    # For sessions

    async def read(self) -> bytes:
        """The next bytes; none at the end. Raises ChannelGone."""
        while not self._waiting:
            if self._gone:
                raise ChannelGone
            if self._ended:
                return b""
            self._changed.clear()
            await self._changed.wait()
        data = self._waiting.popleft()
        self._dealt_with(len(data))
        return data

    async def write(self, data: bytes) -> None:
        """Send bytes, and wait while the client is behind. Raises ChannelGone."""
        if self._gone:
            raise ChannelGone
        self._carrier.send(self.number, data)
        await self._carrier.drained(self.number)

    def end(self) -> None:
        """Nothing more is sent."""
        if not self._gone:
            self._carrier.send(self.number, b"", end=True)

    def reset(self) -> None:
        """Give the channel up, in both directions."""
        if not self._gone:
            self._carrier.reset(self.number)
            self.gone()
        self.ignore()

    def ignore(self) -> None:
        """Forget what comes, and what has come."""
        self._ignoring = True
        while self._waiting:
            self._dealt_with(len(self._waiting.popleft()))

    # For carriers

    def came(self, data: bytes, *, end: bool = False) -> None:
        """The client has sent this. end: nothing follows."""
        self._ended = self._ended or end
        if data:
            self._carrier.line.hold(len(data))
            self._waiting.append(data)
            if self._ignoring:
                self.ignore()
        self._changed.set()

    def gone(self) -> None:
        """The client has given it up; what it sent before may still be read."""
        self._gone = True
        self._changed.set()

    def _dealt_with(self, size: int) -> None:
        self._carrier.consumed(self.number, size)
        self._carrier.line.hold(-size)
