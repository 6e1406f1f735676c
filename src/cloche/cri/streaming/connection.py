"""One connection of a client: an HTTP request with a token, and after its upgrade what was asked for.

request ──refused──▶ answered, ends
   └──upgraded──▶ a carrier takes the bytes, a session runs ──over, or the client gone──▶ ends
"""

from __future__ import annotations

import asyncio
import logging
import socket
from time import monotonic
from typing import cast

import h11

from cloche.engine.tasks.reading import Reading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any, Protocol

    class Receiver(Protocol):
        """What takes the bytes of a client once HTTP is over."""

        def receive(self, data: bytes) -> None:
            """Bytes have come."""

        def lost(self) -> None:
            """The client is gone."""


_log = logging.getLogger("cloche.cri")

HEAD_LIMIT = 16 << 10
"""Bytes of a request's head."""
HELD_LIMIT = 1 << 20
"""Bytes that came and were not dealt with, above which nothing more is read from the client."""
WRITE_AHEAD = 256 << 10
"""Bytes that wait for the client, above which whoever writes waits."""
_REQUEST_TIMEOUT_S = 30.0
_LINGER_S = 2.0
_LOOK_AFTER_S = 5.0
_CLOSE_WAIT = 8
_CLOSED = (7, _CLOSE_WAIT)


class Refusal(Exception):
    """A request is answered with an error. headers: beside the usual ones."""

    def __init__(self, status: int, reason: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers


class ClientConnection(Reading):
    """See the module; it is the line on which carriers speak.

    upgrade(connection, request): called once, with a whole request. Raises Refusal. idle_timeout_s: how long
    neither side may say anything. forget(connection): called once, when it is over and
    what ran for it too.
    """

    def __init__(
        self,
        upgrade: Callable[[ClientConnection, h11.Request], None],
        forget: Callable[[ClientConnection], None],
        *,
        idle_timeout_s: float,
    ) -> None:
        self._upgrade = upgrade
        self._forget = forget
        self._idle_timeout_s = idle_timeout_s
        self._http: h11.Connection | None = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        self._request: h11.Request | None = None
        self._receiver: Receiver | None = None
        self._session: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._drained = asyncio.Event()
        self._drained.set()
        self._held = 0
        self._reading = True
        self._finishing = False
        self._active = monotonic()

    # For asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: somebody has connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_AHEAD)
        self._timer = asyncio.get_running_loop().call_later(_REQUEST_TIMEOUT_S, self._give_up_request)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes have come."""
        self._active = monotonic()
        if self._finishing:
            return
        if self._receiver is not None:
            self._receiver.receive(data)
        elif self._http is not None:
            self._on_http(self._http, data)

    def pause_writing(self) -> None:
        """asyncio: the client is behind."""
        self._drained.clear()

    def resume_writing(self) -> None:
        """asyncio: it has caught up."""
        self._active = monotonic()
        self._drained.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the client is gone, and what it asked for ends."""
        self._transport = None
        self._drained.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._receiver is not None:
            self._receiver.lost()
        if self._session is None or self._session.done():
            self._forget(self)
        else:
            self._session.cancel()

    # For carriers

    def write(self, data: bytes) -> None:
        """See Line."""
        if self._transport is not None and not self._finishing:
            self._active = monotonic()
            self._transport.write(data)

    async def drained(self) -> None:
        """See Line."""
        await self._drained.wait()

    def hold(self, size: int) -> None:
        """See Line."""
        self._held += size
        if self._transport is None:
            return
        if self._reading and self._held > HELD_LIMIT:
            self._reading = False
            self._transport.pause_reading()
        elif not self._reading and self._held <= HELD_LIMIT // 2:
            self._reading = True
            self._transport.resume_reading()

    def finish(self) -> None:
        """See Line.

        The client hangs up once it has everything. Were it us, and bytes of the client under way, then the
        kernel would throw away what we said last.
        """
        if self._transport is None or self._finishing:
            return
        self._finishing = True
        if not self._reading:
            self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._arm(_LINGER_S, self._linger)

    # For the server

    def switch(self, receiver: Receiver, head: bytes) -> None:
        """Answer the request with a change of protocol. head: of the answer."""
        trailing, _ = self._http.trailing_data if self._http is not None else (b"", False)
        self._http = None
        self._receiver = receiver
        self.write(head)
        self._arm(min(_LOOK_AFTER_S, self._idle_timeout_s), self._look_after)
        if trailing:  # after the session, which `run` has put into the loop before, has made its channels
            asyncio.get_running_loop().call_soon(receiver.receive, trailing)

    def run(self, session: Coroutine[Any, Any, None]) -> None:
        """Run what was asked for: it ends when the client goes."""
        self._session = asyncio.get_running_loop().create_task(session)
        self._session.add_done_callback(self._on_session_over)

    async def abort(self) -> None:
        """Hang up, and wait until what runs for the client has ended."""
        if self._transport is not None:
            self._transport.abort()
        if self._session is not None:
            self._session.cancel()
            await asyncio.wait((self._session,))

    def _on_session_over(self, session: asyncio.Task[None]) -> None:
        if not session.cancelled() and session.exception() is not None:
            _log.error("a stream of a client ended unforeseen", exc_info=session.exception())
            if self._transport is not None:
                self._transport.abort()
        if self._transport is None:
            self._forget(self)

    def _on_http(self, http: h11.Connection, data: bytes) -> None:
        try:
            http.receive_data(data)
            while True:
                event = http.next_event()
                if isinstance(event, h11.Request):
                    self._request = event
                elif isinstance(event, h11.EndOfMessage) and self._request is not None:
                    self._upgrade(self, self._request)
                    return
                elif not isinstance(event, h11.Data):
                    return
        except h11.RemoteProtocolError as error:
            self._refuse(Refusal(error.error_status_hint, "the request makes no sense"))
        except Refusal as refusal:
            self._refuse(refusal)

    def _refuse(self, refusal: Refusal) -> None:
        http, self._http = self._http, None
        text = refusal.reason.encode() + b"\n"
        head = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(text))),
            ("Connection", "close"),
            *refusal.headers,
        ]
        if http is not None and http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.write(http.send(h11.Response(status_code=refusal.status, headers=head)) or b"")
            self.write(http.send(h11.Data(data=text)) or b"")
        self.finish()

    def _arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay_s, callback)

    def _give_up_request(self) -> None:
        self._refuse(Refusal(408, "the request takes too long"))

    def _look_after(self) -> None:
        """End a connection on which nothing happens, or whose client went while we do not read from it."""
        if self._transport is None:
            return
        if monotonic() - self._active >= self._idle_timeout_s or (not self._reading and self._has_hung_up()):
            self._transport.abort()
            return
        self._arm(min(_LOOK_AFTER_S, self._idle_timeout_s), self._look_after)

    def _has_hung_up(self) -> bool:
        """Whether the client has closed its side, behind bytes that we have not read."""
        if self._transport is None:
            return True
        connected: socket.socket | None = self._transport.get_extra_info("socket")
        if connected is None or connected.family == socket.AF_UNIX:
            return False
        state: int = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        return state in _CLOSED

    def _linger(self) -> None:
        """Hang up on a client that does not; but not while it still takes what we said."""
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size() and monotonic() - self._active < self._idle_timeout_s:
            self._arm(_LINGER_S, self._linger)
            return
        self._transport.close()
