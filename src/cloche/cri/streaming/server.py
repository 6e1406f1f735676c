"""The streaming server: clients bring it the tokens that the CRI's Exec, Attach and PortForward gave."""

from __future__ import annotations

import asyncio
import socket
import ssl

from cloche.cri.streaming import port_forward, remote_command
from cloche.cri.streaming.connection import ClientConnection, Refusal
from cloche.cri.streaming.runtime import AttachRequest, ExecRequest, ForwardRequest
from cloche.cri.streaming.spdy import SpdyCarrier
from cloche.cri.streaming.tokens import Tokens
from cloche.engine.tasks.accepting import Acceptor
from cloche.errors import FailedPrecondition, InvalidArgument
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    import h11

    from cloche.cri.streaming.runtime import StreamingRuntime

_KINDS: dict[type, str] = {ExecRequest: "exec", AttachRequest: "attach", ForwardRequest: "portforward"}
_SPDY = "SPDY/3.1"
_PROTOCOL_HEADER = "X-Stream-Protocol-Version"
_CONNECTIONS = 2000


class Settings(Record):
    """Where the server listens, and how patient it is.

    address, port: an IP address, and 0 for any free port. certificate, key: files, for TLS; "" without.
    idle_timeout_s: how long nothing may happen on a connection. creation_timeout_s: how long a client may
    take to open its channels.
    """

    address: str = "127.0.0.1"
    port: int = 0
    certificate: str = ""
    key: str = ""
    idle_timeout_s: float = 4 * 3600.0
    creation_timeout_s: float = 30.0


class StreamingServer:
    """See the module.

    runtime: who runs what is asked for. connections: the clients that are there, or whose sessions still end.
    """

    def __init__(self, runtime: StreamingRuntime, settings: Settings | None = None) -> None:
        self._runtime = runtime
        self._settings = settings or Settings()
        self._tokens = Tokens()
        self.connections: set[ClientConnection] = set()
        self._acceptor: Acceptor | None = None
        self._base = ""

    async def start(self) -> None:
        """Listen. Raises InvalidArgument for files of TLS that cannot be used, OSError for the address."""
        settings = self._settings
        tls = _tls(settings)
        family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
        listener = socket.create_server((settings.address, settings.port), family=family)
        self._acceptor = Acceptor(listener, self._connect, tls)
        host, port = listener.getsockname()[:2]
        self._base = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"

    async def stop(self) -> None:
        """Take no more clients, and hang up on those that are there."""
        if self._acceptor is not None:
            await self._acceptor.close()
        await asyncio.gather(*(connection.abort() for connection in list(self.connections)))

    def url(self, request: ExecRequest | AttachRequest | ForwardRequest) -> str:
        """Where a client gets what it asked for: once, and within a minute.

        Raises InvalidArgument for a request that makes no sense, ResourceExhausted where too many wait, and
        FailedPrecondition before `start`.
        """
        _check(request)
        if not self._base:
            raise FailedPrecondition("the streaming server does not run")
        return f"{self._base}/{_KINDS[type(request)]}/{self._tokens.put(request)}"

    def _connect(self, _: socket.socket) -> ClientConnection:
        connection = ClientConnection(
            self._upgrade, self.connections.discard, idle_timeout_s=self._settings.idle_timeout_s
        )
        self.connections.add(connection)
        return connection

    def _upgrade(self, connection: ClientConnection, request: h11.Request) -> None:
        if len(self.connections) > _CONNECTIONS:
            raise Refusal(503, "too many connections")
        wanted = self._wanted(request)
        upgrade = _header(request, "upgrade").lower()
        if upgrade == "websocket":
            self._upgrade_to_websocket(connection, request, wanted)
            return
        if upgrade != _SPDY.lower() or "upgrade" not in _header(request, "connection").lower():
            raise Refusal(400, f"unable to upgrade: ask for {_SPDY} or websocket")
        self._upgrade_to_spdy(connection, request, wanted)

    def _wanted(self, request: h11.Request) -> Record:
        """What the token in the request's path stands for."""
        kind, _, token = request.target.partition(b"?")[0].decode("latin-1").lstrip("/").partition("/")
        if kind not in _KINDS.values():
            raise Refusal(404, "404 page not found")
        if request.method not in (b"GET", b"POST"):
            raise Refusal(405, "405: Method Not Allowed", (("Allow", "GET, POST"),))
        wanted = self._tokens.take(token)
        if wanted is None or _KINDS[type(wanted)] != kind:
            raise Refusal(404, "404 page not found")
        return wanted

    def _upgrade_to_spdy(self, connection: ClientConnection, request: h11.Request, wanted: Record) -> None:
        commands = tuple(remote_command.PROTOCOLS)
        protocols = commands if isinstance(wanted, AttachRequest) else (port_forward.PROTOCOL,)
        offered = _listed(_header(request, _PROTOCOL_HEADER.lower()))
        if not offered:
            raise Refusal(400, f"unable to upgrade: the request has no {_PROTOCOL_HEADER}")
        chosen = next((protocol for protocol in offered if protocol in protocols), None)
        if chosen is None:
            accepted = tuple(("X-Accepted-Stream-Protocol-Versions", protocol) for protocol in protocols)
            raise Refusal(
                403, f"unable to upgrade: the protocols known here are {', '.join(protocols)}", accepted
            )
        carrier = SpdyCarrier(connection)
        connection.run(self._spdy_session(wanted, carrier, chosen))
        connection.switch(carrier, _switching(("Upgrade", _SPDY), (_PROTOCOL_HEADER, chosen)))

    def _spdy_session(self, wanted: Record, carrier: SpdyCarrier, protocol: str) -> Coroutine[Any, Any, None]:
        patience_s = self._settings.creation_timeout_s
        if isinstance(wanted, AttachRequest):
            version = remote_command.PROTOCOLS[protocol]
            return remote_command.over_spdy(self._runtime, wanted, carrier, version, patience_s)
        assert isinstance(wanted, ForwardRequest)  # noqa: S101 - there is no third kind
        return port_forward.over_spdy(self._runtime, wanted, carrier, patience_s)

    def _upgrade_to_websocket(
        self, connection: ClientConnection, request: h11.Request, wanted: Record
    ) -> None:
        # Most clients speak SPDY: the others are not paid for before they come.
        from cloche.cri.streaming.websocket import Tunnel, WebSocketCarrier, handshake

        if isinstance(wanted, AttachRequest):
            messages, protocol, head = handshake(
                connection, request, tuple(remote_command.WEBSOCKET_PROTOCOLS)
            )
            carrier = WebSocketCarrier(messages, protocol)
            version = remote_command.WEBSOCKET_PROTOCOLS.get(protocol, 1)
            connection.run(remote_command.over_websocket(self._runtime, wanted, carrier, version))
            connection.switch(carrier, head)
            return
        assert isinstance(wanted, ForwardRequest)  # noqa: S101 - there is no third kind
        known = (port_forward.TUNNEL, *port_forward.WEBSOCKET_PROTOCOLS)
        messages, protocol, head = handshake(connection, request, known)
        if protocol == port_forward.TUNNEL:
            tunnel = Tunnel(messages)
            connection.run(self._spdy_session(wanted, tunnel.carrier, port_forward.PROTOCOL))
            connection.switch(tunnel, head)
            return
        carrier = WebSocketCarrier(messages, protocol)
        connection.run(port_forward.over_websocket(self._runtime, wanted, carrier))
        connection.switch(carrier, head)


def _check(request: ExecRequest | AttachRequest | ForwardRequest) -> None:
    if isinstance(request, ForwardRequest):
        if not request.sandbox:
            raise InvalidArgument("missing required pod_sandbox_id")
        return
    if not request.container:
        raise InvalidArgument("missing required container_id")
    if request.terminal and request.stderr:
        raise InvalidArgument("tty and stderr cannot both be true: a terminal has one output")
    if not (request.stdin or request.stdout or request.stderr):
        raise InvalidArgument("one of stdin, stdout, or stderr must be set")


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if not settings.certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key or None)
    except (OSError, ssl.SSLError) as error:
        raise InvalidArgument(f"TLS of the streaming server: {settings.certificate}: {error}") from None
    return context


def _header(request: h11.Request, name: str) -> str:
    """A header's values, joined; "" where it is absent. name: in lower case."""
    return ",".join(value.decode("latin-1") for key, value in request.headers if key == name.encode())


def _listed(header: str) -> list[str]:
    return [word for part in header.split(",") if (word := part.strip())]


def _switching(*headers: tuple[str, str]) -> bytes:
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    return f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n{''.join(lines)}\r\n".encode()
