"""Channels over WebSocket: each message begins with the number of the channel that it is for.

    channel.k8s.io           binary messages, one byte and the data
    base64.channel.k8s.io    text messages, one digit and the data in base64

and the same with v4. before them, where the channel for errors has a JSON document. v5.channel.k8s.io is
binary, and has a message of two bytes, 255 and a channel's number, for "nothing follows on it".

Beside them, SPDY/3.1+portforward.k8s.io has all of a SPDY connection in binary messages.
"""

from __future__ import annotations

import base64
import binascii

from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Pong, Request, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.handshake import H11Handshake
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from cloche.cri.streaming.channel import Channel
from cloche.cri.streaming.connection import Refusal
from cloche.cri.streaming.spdy import SpdyCarrier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import h11
    from wsproto.connection import Connection
    from wsproto.events import Event

    from cloche.cri.streaming.channel import Line

BASE64 = "base64.channel.k8s.io"
V5 = "v5.channel.k8s.io"
_NOTHING_FOLLOWS = 255


def handshake(line: Line, request: h11.Request, known: Sequence[str]) -> tuple[WebSocket, str, bytes]:
    """Take a client's request: the messages, the protocol that is chosen, and the head of the answer.

    known: the protocols that we speak, of which the client's first is chosen; "" where it names none.
    Raises Refusal.
    """
    shaking = H11Handshake(ConnectionType.SERVER)
    try:
        shaking.initiate_upgrade_connection(list(request.headers), request.target)
        offered = [
            name for event in shaking.events() if isinstance(event, Request) for name in event.subprotocols
        ]
    except (RemoteProtocolError, UnicodeError) as error:
        raise Refusal(400, f"unable to upgrade: {error}") from None
    chosen = next((name for name in offered if name in known), None)
    if offered and chosen is None:
        raise Refusal(403, f"unable to upgrade: the protocols known here are {', '.join(known)}")
    head = shaking.send(AcceptConnection(subprotocol=chosen))
    assert shaking.connection is not None  # noqa: S101 - it was accepted
    return WebSocket(line, shaking.connection), chosen or "", head


class WebSocket:
    """The messages of a connection, without what is in them.

    line: to the client. over: whether the closing has begun.
    """

    def __init__(self, line: Line, connection: Connection) -> None:
        self.line = line
        self.over = False
        self._connection = connection

    def messages(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """The messages in bytes that came, or pieces of them, each with whether its message ends there."""
        try:
            self._connection.receive_data(data)
            for event in self._connection.events():
                if isinstance(event, BytesMessage):
                    yield bytes(event.data), event.message_finished
                elif isinstance(event, TextMessage):
                    yield event.data.encode(), event.message_finished
                elif isinstance(event, Ping):
                    self._send(Pong(payload=bytes(event.payload)))
                elif isinstance(event, CloseConnection):
                    self.close(CloseReason.NORMAL_CLOSURE)
        except RemoteProtocolError:
            self.close(CloseReason.PROTOCOL_ERROR)
        except LocalProtocolError:  # bytes after the close, which mean nothing
            return

    def send(self, message: bytes | str) -> None:
        """Send a message, binary or text."""
        if not self.over:
            self._send(
                BytesMessage(data=message) if isinstance(message, bytes) else TextMessage(data=message)
            )

    def close(self, code: int) -> None:
        """End the connection."""
        if self.over:
            return
        self.over = True
        if self._connection.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            self._send(CloseConnection(code=code))
        self.line.finish()

    def _send(self, event: Event) -> None:
        if self._connection.state is ConnectionState.OPEN or isinstance(event, CloseConnection):
            self.line.write(self._connection.send(event))


class WebSocketCarrier:
    """Numbered channels on a connection. protocol: as at the top; "" is channel.k8s.io."""

    def __init__(self, messages: WebSocket, protocol: str) -> None:
        self.line = messages.line
        self.channels: dict[int, Channel] = {}
        self._socket = messages
        self._base64 = protocol.endswith(BASE64)
        self._half_closes = protocol == V5
        self._begun = False
        self._current: int | None = None
        self._rest = b""

    def channel(self, number: int) -> Channel:
        """A channel that both sides know of."""
        channel = self.channels[number] = Channel(self, number, {})
        return channel

    def receive(self, data: bytes) -> None:
        """Bytes have come."""
        for piece, last in self._socket.messages(data):
            self._take(piece)
            if last:
                self._begun, self._current, self._rest = False, None, b""
        if self._socket.over:
            self.lost()

    def _take(self, piece: bytes) -> None:
        """A message, or a piece of one: only the first has the channel's number."""
        if not self._begun:
            if not piece:
                return
            self._begun = True
            self._current = piece[0] - (ord("0") if self._base64 else 0)
            piece = piece[1:]
        if self._current == _NOTHING_FOLLOWS and self._half_closes:
            ended = self.channels.get(piece[0]) if piece else None
            if ended is not None:
                ended.came(b"", end=True)
            return
        channel = None if self._current is None else self.channels.get(self._current)
        if channel is not None:
            channel.came(self._decoded(piece) if self._base64 else piece)

    def _decoded(self, piece: bytes) -> bytes:
        """The bytes in base64; what makes no whole group of four waits for the next piece."""
        text = self._rest + piece
        whole = len(text) // 4 * 4
        self._rest = text[whole:]
        try:
            return base64.b64decode(text[:whole], validate=True)
        except binascii.Error:
            self._socket.close(CloseReason.INVALID_FRAME_PAYLOAD_DATA)
            return b""

    def lost(self) -> None:
        """The client is gone."""
        for channel in self.channels.values():
            channel.gone()

    async def finish(self) -> None:
        """End the connection."""
        self._socket.close(CloseReason.NORMAL_CLOSURE)

    def send(self, number: int, data: bytes, *, end: bool = False) -> None:
        """See Carrier. No end of one channel can be told to the client: the connection's is that of all."""
        if end and not data:
            return
        if self._base64:
            self._socket.send(chr(ord("0") + number) + base64.b64encode(data).decode())
        else:
            self._socket.send(bytes((number,)) + data)

    def reset(self, number: int) -> None:
        """See Carrier. No more than its end can it be told."""

    def consumed(self, number: int, size: int) -> None:
        """See Carrier. There are no windows: the line stops reading."""

    async def drained(self, number: int) -> None:
        """See Carrier."""
        await self.line.drained()


class Tunnel:
    """A WebSocket as the line of a SPDY connection. carrier: what speaks on it."""

    def __init__(self, messages: WebSocket) -> None:
        self.carrier = SpdyCarrier(self)
        self._socket = messages

    def receive(self, data: bytes) -> None:
        """Bytes have come."""
        for piece, _ in self._socket.messages(data):
            self.carrier.receive(piece)
        if self._socket.over:
            self.carrier.lost()

    def lost(self) -> None:
        """The client is gone."""
        self.carrier.lost()

    def write(self, data: bytes) -> None:
        """See Line."""
        self._socket.send(data)

    async def drained(self) -> None:
        """See Line."""
        await self._socket.line.drained()

    def hold(self, size: int) -> None:
        """See Line."""
        self._socket.line.hold(size)

    def finish(self) -> None:
        """See Line."""
        self._socket.close(CloseReason.NORMAL_CLOSURE)
