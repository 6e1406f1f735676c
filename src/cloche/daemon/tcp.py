"""gRPC over TCP, for clients on other machines: with TLS, and with certificates of both sides.

Whoever may call this API is root of the machine. So without the clients' certificates being checked
it listens on the loopback interface only.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl

from cloche.daemon.transport import GrpcProtocol
from cloche.errors import InvalidArgument
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

    from cloche.daemon.connections import Connections


class Tcp(Record):
    """Where to listen, HOST:PORT, and the files of TLS.

    authority: who signs the clients' certificates. common_name: what they have to be made out to; ""
    for anybody's that the authority has signed.
    """

    address: str
    certificate: str = ""
    key: str = ""
    authority: str = ""
    common_name: str = ""


class NamedProtocol(GrpcProtocol):
    """A connection whose client has to have a certificate with a name."""

    def __init__(self, owner: Connections, common_name: str) -> None:
        super().__init__(owner)
        self._common_name = common_name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: somebody has connected, and has shown a certificate."""
        super().connection_made(transport)
        certificate = transport.get_extra_info("peercert") or {}
        names = [
            value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"
        ]
        if self._common_name not in names and self.transport is not None:
            self.transport.abort()


def serve(connections: Connections, settings: Tcp) -> None:
    """Listen. Raises InvalidArgument for settings that do not fit together, OSError."""
    host, port = _address(settings)
    tls = _context(settings)
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)

    def protocol(owner: Connections) -> GrpcProtocol:
        return NamedProtocol(owner, settings.common_name) if settings.common_name else GrpcProtocol(owner)

    connections.serve(listener, protocol, tls=tls)


def _address(settings: Tcp) -> tuple[str, int]:
    host, _, port = settings.address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        private = ipaddress.ip_address(host).is_loopback
        number = int(port)
    except ValueError:
        raise InvalidArgument(f"TCP address {settings.address!r}: write it as IP:PORT") from None
    if not private and not settings.authority:
        raise InvalidArgument(
            f"TCP address {settings.address!r}: whoever can connect there would be root here; "
            "set tls_cert, tls_key and tls_ca, or listen on 127.0.0.1"
        )
    return host, number


def _context(settings: Tcp) -> ssl.SSLContext | None:
    if not settings.certificate:
        if settings.authority or settings.common_name:
            raise InvalidArgument("tls_ca and tls_common_name need tls_cert and tls_key")
        return None
    if settings.common_name and not settings.authority:
        raise InvalidArgument("tls_common_name needs tls_ca, or nobody has a name")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    try:
        context.load_cert_chain(settings.certificate, settings.key or None)
        if settings.authority:
            context.load_verify_locations(settings.authority)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise InvalidArgument(f"TLS of {settings.address}: {error}") from None
    return context
