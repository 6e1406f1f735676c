"""What happened, told to containerd: in order, and never in the way of what happens next.

Events wait in a queue of bounded length. One at a time is sent to containerd's ttrpc socket, and
tried again where nobody takes it: containerd may be restarting. It then asks each shim for its
state anyway, so that an event which was lost after all is a delay and no error.
"""

from __future__ import annotations

import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM
from _socket import socket as _socket

from cloche.shim.loop import READ, WRITE
from cloche.wire import ttrpc
from cloche.wire.messages.events import TOPICS, ForwardRequest
from cloche.wire.messages.google import Any, Timestamp
from cloche.wire.messages.types import Envelope
from cloche.wire.protobuf import DecodeError
from cloche.wire.services.forwarding import FORWARDING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.shim.loop import Loop, Timer
    from cloche.wire.protobuf import Message

LIMIT = 2048
"""How many events may wait; of more the oldest are dropped."""

_ANSWER_TIMEOUT_S = 5.0
_RETRY_S = (0.05, 0.2, 1.0, 2.0, 5.0)
_GIVE_UP_TRIES = 12


class Publisher:
    """Publishes the events of one shim. Everything here belongs to the loop's thread."""

    def __init__(self, loop: Loop, namespace: str, ttrpc_address: str) -> None:
        """ttrpc_address: the path of containerd's socket, with or without `unix://`; "" for nobody."""
        self._loop = loop
        self._namespace = namespace
        self._path = ttrpc_address.removeprefix("unix://")
        self._waiting: list[bytes] = []
        self._socket: _socket | None = None
        self._decoder = ttrpc.Decoder()
        self._stream = -1
        self._unsent = b""
        self._events = READ
        self._tries = 0
        self._timer: Timer | None = None
        self._in_flight = False
        self.emptied: Callable[[], None] | None = None

    @property
    def pending(self) -> int:
        """How many events nobody has taken yet."""
        return len(self._waiting)

    def publish(self, event: Message) -> None:
        """Tell that something happened just now."""
        if not self._path:
            return
        now = Timestamp.of(time.time_ns())
        topic = TOPICS[type(event)]
        envelope = Envelope(timestamp=now, namespace=self._namespace, topic=topic, event=Any.pack(event))
        if len(self._waiting) >= LIMIT:
            del self._waiting[int(self._in_flight)]
        self._waiting.append(ForwardRequest(envelope=envelope).encode())
        if self._timer is None and not self._in_flight:
            self._send_next()

    def close(self) -> None:
        """Tell nobody any more."""
        self._path = ""
        self._waiting.clear()
        self._in_flight = False
        self._fail()

    def _send_next(self) -> None:
        self._timer = None
        if not self._waiting:
            if self.emptied is not None:
                self.emptied()
            return
        try:
            if self._socket is None:
                self._connect()
        except OSError:
            self._try_again()
            return
        self._in_flight = True
        self._stream += 2
        method = next(iter(FORWARDING.methods))
        request = ttrpc.Request(service=FORWARDING.full_name, method=method, payload=self._waiting[0])
        self._unsent = ttrpc.encode(self._stream, ttrpc.REQUEST, request.encode(), flags=ttrpc.REMOTE_CLOSED)
        self._timer = self._loop.call_later(_ANSWER_TIMEOUT_S, self._fail)
        self._flush()

    def _connect(self) -> None:
        connection = _socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        self._socket = connection
        self._decoder = ttrpc.Decoder()
        self._stream = -1
        self._events = READ
        self._loop.watch(connection.fileno(), READ, self._ready)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if self._socket is not None and events & ~WRITE:
            self._receive(self._socket)

    def _flush(self) -> None:
        if self._socket is None:
            return
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._fail()
            return
        events = READ | WRITE if self._unsent else READ
        if events != self._events:
            self._events = events
            self._loop.watch(self._socket.fileno(), events, self._ready)

    def _receive(self, connection: _socket) -> None:
        try:
            data = connection.recv(4096)
            frames = self._decoder.feed(data)
            for frame in frames:
                if frame.kind == ttrpc.RESPONSE and frame.stream == self._stream:
                    ttrpc.Response.decode(frame.payload)
                    # Refused is refused: the same bytes would be refused again.
                    self._taken()
        except BlockingIOError:
            return
        except (OSError, ttrpc.ProtocolError, DecodeError):
            self._fail()
            return
        if not data:
            self._fail()

    def _taken(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._in_flight = False
        self._tries = 0
        del self._waiting[0]
        self._send_next()

    def _fail(self) -> None:
        """The connection is of no use any more."""
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._in_flight:
            self._in_flight = False
            self._try_again()

    def _try_again(self) -> None:
        delay_s = _RETRY_S[min(self._tries, len(_RETRY_S) - 1)]
        self._tries += 1
        if self._tries > _GIVE_UP_TRIES:
            # Nobody is there. The next containerd asks for what it wants to know.
            self._tries = 0
            self._waiting.clear()
            self._send_next()
            return
        self._timer = self._loop.call_later(delay_s, self._send_next)
