"""A ttrpc server on the loop: many connections, each with many calls that end in any order.

    client                        server
    REQUEST  stream 1 ──────────▶ handler(request, call)
    REQUEST  stream 3 ──────────▶ handler(request, call)
             stream 3 ◀────────── RESPONSE       call.answer or call.refuse, now or later
             stream 1 ◀────────── RESPONSE

A method that streams sees its client's DATA through `call.on_data`, and answers with `call.send`
as often as it likes before it ends the call.
"""

from __future__ import annotations

import os
from _socket import SO_PEERCRED, SOL_SOCKET
from _socket import socket as _socket
from _struct import Struct

from cloche.errors import ClocheError, DeadlineExceeded, InvalidArgument, PermissionDenied, Unimplemented
from cloche.shim.loop import READ, WRITE
from cloche.wire import ttrpc
from cloche.wire.protobuf import DecodeError, Message
from cloche.wire.status import is_foreseen, status_of
from cloche.wire.ttrpc import DATA, NO_DATA, REMOTE_CLOSED, REMOTE_OPEN, REQUEST, RESPONSE, Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from cloche.shim.holder import Packing, Unpacking
    from cloche.shim.loop import Loop, Timer
    from cloche.wire.service import Method, Service
    from cloche.wire.tracing import Span

    Handler = Callable[[Any, "Call"], None]

_RECEIVE_BYTES = 1 << 16
_UNSENT_LIMIT_BYTES = 8 << 20
_RETRY_ACCEPT_S = 0.2
_CREDENTIALS = Struct("iII")
_NS = 1e-9


class Call:
    """One call of a client, to be ended once by `answer` or `refuse`, in the loop's thread.

    metadata: its headers. on_data, on_end: set by methods whose client streams; on_data(message)
    for each, on_end() after the last. on_gone: called where the client goes away before the end.
    span: what is told of it to who traces.
    """

    __slots__ = (
        "_connection",
        "_method",
        "_stream",
        "_timer",
        "ended",
        "metadata",
        "on_data",
        "on_end",
        "on_gone",
        "span",
    )

    def __init__(
        self, connection: _Connection, stream: int, method: Method, metadata: dict[str, str]
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._method = method
        self._timer: Timer | None = None
        self.metadata = metadata
        self.ended = False
        self.on_data: Callable[[Any], None] = _unheard
        self.on_end: Callable[[], None] = _nothing
        self.on_gone: Callable[[], None] = _nothing
        self.span: Span | None = None

    def answer(self, message: Message | None = None) -> None:
        """End the call well. Nothing happens where it has ended already."""
        payload = (message or self._method.response()).encode()
        self._end(ttrpc.Response(payload=payload))

    def refuse(self, error: BaseException) -> None:
        """End the call with an error. Nothing happens where it has ended already."""
        self._end(ttrpc.Response(status=status_of(error)))
        if not is_foreseen(error):
            self._connection.server.report(error)

    def send(self, message: Message) -> None:
        """One of many answers of a method that streams."""
        if not self.ended:
            self._connection.send(ttrpc.encode(self._stream, DATA, message.encode()))

    def _end(self, response: ttrpc.Response) -> None:
        if self.ended:
            return
        self._forget()
        if self.span is not None:
            status = response.status
            self.span.end(failed=status is not None, message=status.message if status is not None else "")
        try:
            data = ttrpc.encode(self._stream, RESPONSE, response.encode())
        except ttrpc.ProtocolError as error:
            refusal = ttrpc.Response(status=status_of(ClocheError(str(error))))
            data = ttrpc.encode(self._stream, RESPONSE, refusal.encode())
        self._connection.send(data)

    def _forget(self) -> None:
        self.ended = True
        if self._timer is not None:
            self._timer.cancel()
        self._connection.calls.pop(self._stream, None)

    def limit(self, nanoseconds: int) -> None:
        """Refuse the call where it has not ended by then."""
        if nanoseconds > 0 and not self.ended:
            self._timer = self._connection.server.loop.call_later(nanoseconds * _NS, self._expire)

    def _expire(self) -> None:
        gone = self.on_gone
        self.refuse(DeadlineExceeded("context deadline exceeded"))
        gone()

    def gone(self) -> None:
        """The client went away."""
        if not self.ended:
            self._forget()
            self.on_gone()

    @property
    def place(self) -> tuple[int, int]:
        """Where the answer has to go: the number of its connection (of `Server.pack`), and the stream."""
        return list(self._connection.server.connections).index(self._connection), self._stream

    def receive(self, frame: Frame) -> None:
        """What the client sends after its request."""
        if not frame.flags & NO_DATA:
            self.on_data(self._method.request.decode(frame.payload))
        if frame.flags & REMOTE_CLOSED:
            self.on_end()


def _nothing() -> None:
    """Nobody asked."""


def _unheard(_: Message) -> None:
    """Nobody asked for more than the first message."""


class _Connection:
    """One client."""

    def __init__(self, server: Server, peer: _socket, last_stream: int = 0) -> None:
        self.server = server
        self.calls: dict[int, Call] = {}
        self._socket = peer
        self._descriptor = peer.fileno()
        self._decoder = ttrpc.Decoder()
        self._unsent = bytearray()
        self.last_stream = last_stream
        self._events = READ
        server.loop.watch(self._descriptor, READ, self._ready)

    def _ready(self, events: int) -> None:
        if events & WRITE and self._unsent:
            self._flush()
        if self._descriptor >= 0 and events & ~WRITE:
            self._receive()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
            if not data:
                self.close()
                return
            for frame in self._decoder.feed(data):
                self._take(frame)
        except BlockingIOError:
            return
        except (OSError, ttrpc.ProtocolError, DecodeError):
            # What follows cannot be understood: the client has to begin anew.
            self.close()

    def _take(self, frame: Frame) -> None:
        if frame.kind == REQUEST:
            self._take_request(frame)
        elif frame.kind == DATA:
            call = self.calls.get(frame.stream)
            if call is not None:
                try:
                    call.receive(frame)
                except DecodeError as error:
                    call.refuse(error)

    def _take_request(self, frame: Frame) -> None:
        request = ttrpc.Request.decode(frame.payload)
        method, handler = self.server.find(request.service, request.method)
        call = Call(self, frame.stream, method, {item.key: item.value for item in request.metadata})
        if frame.stream % 2 == 0 or frame.stream <= self.last_stream:
            call.refuse(InvalidArgument(f"stream {frame.stream}: must be odd, and above those before"))
            return
        self.last_stream = frame.stream
        self.calls[frame.stream] = call
        if "traceparent" in call.metadata:
            from cloche.shim.traced import begin, within

            call.span = begin(call.metadata, request.service, request.method)
            handler = within(call.span, handler)
        try:
            empty = method.client_streaming and frame.flags & REMOTE_OPEN and not request.payload
            handler(None if empty else method.request.decode(request.payload), call)
        except Exception as error:
            call.refuse(error)
        call.limit(request.timeout_nano)

    def send(self, data: bytes) -> None:
        """Send, or keep what does not go; the client is not read from while too much is kept."""
        if self._descriptor < 0:
            return
        self._unsent += data
        if len(self._unsent) == len(data):
            self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent)
                del self._unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._choose_events()

    def _choose_events(self) -> None:
        events = WRITE if self._unsent else 0
        if len(self._unsent) <= _UNSENT_LIMIT_BYTES:
            events |= READ
        if events != self._events:
            self._events = events
            self.server.loop.watch(self._descriptor, events, self._ready)

    @property
    def unsent(self) -> bool:
        """Whether the client has not yet taken all."""
        return bool(self._unsent)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is half said, on either side."""
        return self._decoder.is_between and not self._unsent

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._descriptor

    def close(self) -> None:
        """End the connection, and every call on it."""
        if self._descriptor < 0:
            return
        self.server.loop.forget(self._descriptor)
        self._socket.close()
        self._descriptor = -1
        self.server.connections.pop(self, None)
        for call in list(self.calls.values()):
            call.gone()


class Server:
    """Serves the services that were offered. Everything here belongs to the loop's thread.

    report: gets errors that nobody foresaw. Only the user that this process runs as is served, and root.
    """

    def __init__(self, loop: Loop, listener: _socket, report: Callable[[BaseException], None]) -> None:
        self.loop = loop
        self.report = report
        self.connections: dict[_Connection, None] = {}  # in their order
        self._listener = listener
        self._offered: dict[tuple[str, str], tuple[Method, Handler]] = {}
        self._services: set[str] = set()
        listener.setblocking(False)
        loop.watch(listener.fileno(), READ, self._accept)

    def offer(self, service: Service, handlers: Mapping[str, Handler]) -> None:
        """handler(request, call) for each method's name; a method without one is refused."""
        self._services.add(service.full_name)
        for name, method in service.methods.items():
            if name in handlers:
                self._offered[service.full_name, name] = (method, handlers[name])

    def find(self, service: str, method: str) -> tuple[Method, Handler]:
        """The method and who handles it; where there is none, somebody who says so."""
        return self._offered.get((service, method)) or (_NO_METHOD, self._refuse(service, method))

    def _refuse(self, service: str, method: str) -> Handler:
        what = f"method {method}" if service in self._services else f"service {service}"

        def refuse(_request: Message, call: Call) -> None:
            call.refuse(Unimplemented(what))

        return refuse

    def _accept(self, _: int) -> None:
        try:
            descriptor, _address = self._listener._accept()  # type: ignore[attr-defined]  # as socket.py does
        except BlockingIOError:
            return
        except OSError:
            # No descriptors left: ask again later, since the client stays in the queue meanwhile.
            self.loop.forget(self._listener.fileno())
            self.loop.call_later(_RETRY_ACCEPT_S, self._accept_again)
            return
        peer = _socket(fileno=descriptor)
        peer.setblocking(False)
        try:
            _require_same_user(peer)
        except (PermissionDenied, OSError):
            peer.close()
            return
        self.connections[_Connection(self, peer)] = None

    def _accept_again(self) -> None:
        if self._listener.fileno() >= 0:
            self.loop.watch(self._listener.fileno(), READ, self._accept)

    @property
    def unsent(self) -> bool:
        """Whether a client has not yet taken all that was said to it."""
        return any(connection.unsent for connection in self.connections)

    def is_quiet(self, *, calls: int) -> bool:
        """Whether nothing is half said, and so many calls are open."""
        return calls == sum(len(each.calls) for each in self.connections) and all(
            each.is_quiet for each in self.connections
        )

    def pack(self, packing: Packing) -> dict[str, Any]:
        """The listener and the connections, as they are when it is quiet."""
        present = self.connections if packing.everything else ()
        connections = [[packing.put(each.fileno()), each.last_stream] for each in present]
        return {"listener": packing.put(self._listener.fileno()), "connections": connections}

    def unpack(self, connections: Sequence[Sequence[int]], unpacking: Unpacking) -> list[_Connection | None]:
        """Go on with what was packed, in its order; None for those that are lost."""
        found: list[_Connection | None] = []
        for place, last_stream in connections:
            descriptor = unpacking.take(place)
            if descriptor < 0:
                found.append(None)
                continue
            connection = _Connection(self, _socket(fileno=descriptor), last_stream)
            self.connections[connection] = None
            found.append(connection)
        return found

    def close(self) -> None:
        """Stop listening, and end every connection."""
        self.loop.forget(self._listener.fileno())
        self._listener.close()
        for connection in list(self.connections):
            connection.close()


def resume(connection: _Connection, stream: int, method: Method) -> Call:
    """A call that is still open on a connection that was unpacked."""
    call = connection.calls[stream] = Call(connection, stream, method, {})
    return call


def _require_same_user(peer: _socket) -> None:
    _, uid, _ = _CREDENTIALS.unpack(peer.getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS.size))
    if uid not in (0, os.geteuid()):
        raise PermissionDenied(f"user {uid} may not talk to this shim")


def _no_method() -> Method:
    from cloche.wire.messages.google import Empty
    from cloche.wire.service import Method

    return Method("", Empty, Empty)


_NO_METHOD = _no_method()
