"""Published ports of one container: chosen, held by sockets, and settled how each is served.

A port that the kernel forwards is held by a socket all the same: nobody else on the host shall be
able to listen there, and a port that is taken is an error of the start.
"""

from __future__ import annotations

from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SO_REUSEADDR,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)

from cloche.errors import AlreadyExists, FailedPrecondition, ResourceExhausted
from cloche.network import addresses
from cloche.network.attachments import PublishedPort
from cloche.network.companion import Duty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloche.network.attachments import Member
    from cloche.network.requests import Port

_EADDRINUSE, _EADDRNOTAVAIL, _EAFNOSUPPORT, _EACCES = 98, 99, 97, 13
_BACKLOG = 512
_ATTEMPTS = 16


class Publication:
    """The ports of a container, with the sockets that hold them."""

    def __init__(self, member: Member, *, nat: bool) -> None:
        """member: whose addresses the ports lead to. nat: by the kernel's rules where these can."""
        self._member = member
        self._nat = nat
        self.ports: list[PublishedPort] = []
        self.duties: list[Duty] = []

    def close(self) -> None:
        """Close the sockets: whoever else has them holds the ports now."""
        for duty in self.duties:
            duty.close()

    def add(self, wanted: Iterable[Port]) -> None:
        """Hold some ports. Raises AlreadyExists for one that is taken, ResourceExhausted for a range
        that has none free, FailedPrecondition for an address that is not this machine's.
        """
        for port in wanted:
            self._add(port)

    def _add(self, port: Port) -> None:
        if port.host_port_end <= port.host_port:
            attempts = 1 if port.host_port else _ATTEMPTS
            for attempt in range(attempts):
                try:
                    self._hold(port, port.host_port)
                    return
                except AlreadyExists:
                    # What the kernel found free over IPv4 may be taken over IPv6.
                    if attempt == attempts - 1:
                        raise
        for number in range(port.host_port, port.host_port_end + 1):
            try:
                self._hold(port, number)
                return
            except AlreadyExists:
                continue
        raise ResourceExhausted(f"all ports from {port.host_port} to {port.host_port_end} are allocated")

    def _hold(self, port: Port, number: int) -> None:
        """Listen on one port, on both families where no address is asked for."""
        hosts = (port.host_ip,) if port.host_ip else ("0.0.0.0", "::")  # noqa: S104 - that is what publishing is
        sockets: list[socket] = []
        try:
            for host in hosts:
                try:
                    sockets.append(_listen(port.protocol, host, number))
                except OSError as error:
                    if host == "::" and not port.host_ip and error.errno in (_EAFNOSUPPORT, _EADDRNOTAVAIL):
                        continue  # a machine without IPv6
                    raise _refusal(error, host, number) from None
                number = number or sockets[0].getsockname()[1]
        except BaseException:
            for each in sockets:
                each.close()
            raise
        target = self._member.ip or self._member.ip6
        self.duties += [Duty(port.protocol, each, (target, port.container_port)) for each in sockets]
        loopback = bool(port.host_ip) and _is_loopback(port.host_ip)
        self.ports.append(
            PublishedPort(
                port.protocol,
                port.host_ip,
                number,
                port.container_port,
                self._nat and not loopback,
                self._member.ip,
                self._member.ip6,
            )
        )


def _is_loopback(text: str) -> bool:
    packed = addresses.parse(text)
    return packed[0] == 127 if len(packed) == 4 else packed == bytes(15) + b"\1"


def _listen(protocol: str, address: str, port: int) -> socket:
    """port: 0 for one that is free. Raises OSError."""
    family = AF_INET6 if ":" in address else AF_INET
    made = socket(family, (SOCK_STREAM if protocol == "tcp" else SOCK_DGRAM) | SOCK_CLOEXEC)
    try:
        if family == AF_INET6:
            made.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        if protocol == "tcp":
            made.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        made.bind((address, port))
        if protocol == "tcp":
            made.listen(_BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def _refusal(error: OSError, host: str, port: int) -> Exception:
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if error.errno == _EADDRINUSE:
        return AlreadyExists(f"cannot publish {place}: port is already allocated")
    if error.errno == _EADDRNOTAVAIL:
        return FailedPrecondition(f"cannot publish {place}: the address is not this machine's")
    if error.errno == _EACCES:
        return FailedPrecondition(f"cannot publish {place}: ports below 1024 need CAP_NET_BIND_SERVICE")
    return FailedPrecondition(f"cannot publish {place}: {error.strerror}")
