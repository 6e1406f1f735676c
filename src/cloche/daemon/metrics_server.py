"""Where Prometheus asks: GET /v1/metrics over plain HTTP, as containerd has it."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import cast

import h11

from cloche.engine.tasks.accepting import Acceptor
from cloche.errors import InvalidArgument
from cloche.wire import prometheus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_log = logging.getLogger("cloche.daemon")

PATH = b"/v1/metrics"
_HEAD_LIMIT = 16 << 10
_PATIENCE_S = 30.0


class _Scrape(asyncio.Protocol):
    """One request, and the end."""

    def __init__(self, measure: Callable[[], Awaitable[bytes]]) -> None:
        self._measure = measure
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_LIMIT)
        self._transport: asyncio.Transport
        self._request: h11.Request | None = None
        self._answering: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: somebody has connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE_S, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: and is gone."""
        self._timer.cancel()
        if self._answering is not None:
            self._answering.cancel()

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes have come."""
        if self._answering is not None:
            return
        try:
            self._http.receive_data(data)
            while not isinstance(event := self._http.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    self._request = event
                elif not isinstance(event, h11.Data):
                    return
        except h11.RemoteProtocolError as error:
            self._answer(error.error_status_hint, b"the request makes no sense\n")
            return
        self._answering = asyncio.get_running_loop().create_task(self._respond())

    async def _respond(self) -> None:
        request = self._request
        if request is None or request.target.partition(b"?")[0] != PATH:
            self._answer(404, b"404 page not found\n")
        elif request.method != b"GET":
            self._answer(405, b"GET is needed\n")
        else:
            try:
                self._answer(200, await self._measure())
            except OSError as error:
                _log.exception("metrics")
                self._answer(500, f"{error}\n".encode())

    def _answer(self, status: int, body: bytes) -> None:
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self._transport.close()
            return
        head = [("Content-Type", prometheus.CONTENT_TYPE), ("Content-Length", str(len(body)))]
        response = h11.Response(status_code=status, headers=[*head, ("Connection", "close")])
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self._transport.write(self._http.send(event) or b"")
        self._transport.close()


def serve(address: str, measure: Callable[[], Awaitable[bytes]]) -> Acceptor:
    """Listen. measure: gives the text of an answer. Raises InvalidArgument for the address, OSError."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise InvalidArgument(f"metrics address {address!r}: write it as HOST:PORT")
    host = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return Acceptor(socket.create_server((host, int(port)), family=family), lambda _: _Scrape(measure))
