"""Channels over SPDY, whose streams they are: the client opens each, and says in headers what it is for."""

from __future__ import annotations

import asyncio

from cloche.cri.streaming.channel import Channel
from cloche.wire.http2_events import Closed, Data, Reset, Writable
from cloche.wire.spdy.connection import Connection
from cloche.wire.spdy.events import Opened
from cloche.wire.spdy.frames import CANCEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cri.streaming.channel import Line

AHEAD = 256 << 10
"""Bytes of one channel that may wait for the client's window before the session does."""


class SpdyCarrier:
    """A connection.

    opened: the channels that nobody has looked at; None once there will be no more.
    """

    def __init__(self, line: Line) -> None:
        self.line = line
        self.opened: asyncio.Queue[Channel | None] = asyncio.Queue()
        self._complete = False
        self._connection = Connection()
        self._channels: dict[int, Channel] = {}
        self._windows: dict[int, asyncio.Event] = {}

    def receive(self, data: bytes) -> None:
        """Bytes have come."""
        for event in self._connection.receive(data):
            if isinstance(event, Data):
                self._came(event)
            elif isinstance(event, Opened):
                self._on_opened(event)
            elif isinstance(event, Reset):
                self._forget(event.stream)
            elif isinstance(event, Writable) and event.stream in self._windows:
                self._windows[event.stream].set()
            elif isinstance(event, Closed):
                self.lost()
        self._flush()

    def _on_opened(self, event: Opened) -> None:
        if self._complete:
            self._connection.reply(event.stream, end=True)
            return
        channel = self._channels[event.stream] = Channel(self, event.stream, event.headers)
        if event.end:
            channel.came(b"", end=True)
        self.opened.put_nowait(channel)

    def _came(self, event: Data) -> None:
        channel = self._channels.get(event.stream)
        if channel is not None:
            channel.came(event.data, end=event.end)
            self._forget_if_over(event.stream)
        else:
            self._connection.consumed(event.stream, len(event.data))

    def lost(self) -> None:
        """The client is gone, or makes no sense."""
        for number in list(self._channels):
            self._forget(number)
        self.opened.put_nowait(None)

    def accept(self, channel: Channel) -> None:
        """Take a channel that the client opened: before that it is sent nothing."""
        self._connection.reply(channel.number)
        self._flush()

    def complete(self) -> None:
        """What else the client opens has nothing in it, and what it sends there goes nowhere."""
        self._complete = True
        while not self.opened.empty():
            channel = self.opened.get_nowait()
            if channel is not None:
                self.accept(channel)
                channel.ignore()
                channel.end()

    async def finish(self) -> None:
        """End the connection, once the client's windows let everything be sent."""
        for number in list(self._connection.streams):
            await self._let_through(number, 0)
        self._connection.close()
        self._flush()

    def send(self, number: int, data: bytes, *, end: bool = False) -> None:
        """See Carrier."""
        self._connection.send_data(number, data, end=end)
        self._forget_if_over(number)
        self._flush()

    def reset(self, number: int) -> None:
        """See Carrier."""
        if number in self._connection.streams:
            self._connection.reset(number, CANCEL)
        self._forget(number)
        self._flush()

    def consumed(self, number: int, size: int) -> None:
        """See Carrier."""
        self._connection.consumed(number, size)
        self._flush()

    async def drained(self, number: int) -> None:
        """See Carrier."""
        await self._let_through(number, AHEAD)
        await self.line.drained()

    async def _let_through(self, number: int, most: int) -> None:
        """Wait until no more than so many bytes of a channel wait for the client's window."""
        while self._connection.waiting(number) > most:
            window = self._windows.setdefault(number, asyncio.Event())
            window.clear()
            await window.wait()

    def _forget_if_over(self, number: int) -> None:
        """A channel that both sides have ended is not gone: what came on it may still be read."""
        if number not in self._connection.streams:
            self._channels.pop(number, None)
            self._windows.pop(number, None)

    def _forget(self, number: int) -> None:
        channel = self._channels.pop(number, None)
        if channel is not None:
            channel.gone()
        if number in self._windows:
            self._windows.pop(number).set()

    def _flush(self) -> None:
        data = self._connection.take()
        if data:
            self.line.write(data)
        if self._connection.goodbye is not None:
            self.line.finish()
