"""Links that a network of containers is made of: bridges, pairs of veth, their addresses and routes.

Requests are values, to be sent at once (`Netlink.tell`): each round trip is a system call or two.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, AF_UNSPEC
from _struct import Struct, pack, unpack_from

from cloche.kernel.netlink import CREATE, DUMP, EXCLUSIVE, attribute, attributes, nested, text
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.kernel.rtnetlink import RouteSocket

    Request = tuple[int, int, bytes]

_NEWLINK, _DELLINK, _NEWADDR, _DELADDR, _NEWROUTE, _GETROUTE = 16, 17, 20, 21, 24, 26
_ADDRESS, _IFNAME, _MTU, _MASTER, _LINKINFO, _NET_NS_FD = 1, 3, 4, 10, 18, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_INFO_SLAVE_KIND, _INFO_SLAVE_DATA, _BRIDGE_PORT_MODE = 4, 5, 4
_BRIDGE_FORWARD_DELAY = 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_IFA_NODAD = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_TABLE_MAIN, _PROTOCOL_STATIC, _UNICAST = 254, 4, 1
_UP = 1

_LINK = Struct("=BxHiII")
_IP = Struct("=4BI")
_ROUTE = Struct("=8BI")


class Route(Record):
    """A route of the main table. destination: the network's bytes, empty for the default route."""

    family: int
    destination: bytes
    prefix_length: int
    link: int


def new_bridge(name: str, mac: bytes = b"") -> Request:
    """A bridge that is up. mac: of its own, or it would change with each port that comes and goes."""
    body = _LINK.pack(AF_UNSPEC, 0, 0, _UP, _UP) + text(_IFNAME, name)
    if mac:
        body += attribute(_ADDRESS, mac)
    # A port forwards from its first moment on: there is no spanning tree that could have a loop.
    data = nested(_INFO_DATA, attribute(_BRIDGE_FORWARD_DELAY, pack("=I", 0)))
    return _NEWLINK, CREATE | EXCLUSIVE, body + nested(_LINKINFO, text(_INFO_KIND, "bridge"), data)


def new_veth(name: str, peer: str, *, bridge: int, namespace: int, mac: bytes, mtu: int = 0) -> Request:
    """A pair: one end, up, is a port of a bridge, by its index; the other, `peer`, is down, in another
    network namespace.

    namespace: its descriptor. mac: the peer's. The kernel refuses a peer that is up from the start.
    """
    inside = _LINK.pack(AF_UNSPEC, 0, 0, 0, 0) + text(_IFNAME, peer)
    inside += attribute(_ADDRESS, mac) + attribute(_NET_NS_FD, pack("=I", namespace))
    body = _LINK.pack(AF_UNSPEC, 0, 0, _UP, _UP) + text(_IFNAME, name)
    body += attribute(_MASTER, pack("=I", bridge))
    if mtu:
        inside += attribute(_MTU, pack("=I", mtu))
        body += attribute(_MTU, pack("=I", mtu))
    info = nested(_LINKINFO, text(_INFO_KIND, "veth"), nested(_INFO_DATA, nested(_VETH_PEER, inside)))
    return _NEWLINK, CREATE | EXCLUSIVE, body + info


def reflect(name: str) -> Request:
    """A port of a bridge may get back what came from it ("hairpin")."""
    body = _LINK.pack(AF_UNSPEC, 0, 0, 0, 0) + text(_IFNAME, name)
    data = nested(_INFO_SLAVE_DATA, attribute(_BRIDGE_PORT_MODE, b"\1"))
    return _NEWLINK, 0, body + nested(_LINKINFO, text(_INFO_SLAVE_KIND, "bridge"), data)


def set_up(link: int) -> Request:
    """A device comes up."""
    return _NEWLINK, 0, _LINK.pack(AF_UNSPEC, 0, link, _UP, _UP)


def delete_link(index: int) -> Request:
    """A device goes, with its peer."""
    return _DELLINK, 0, _LINK.pack(AF_UNSPEC, 0, index, 0, 0)


def new_address(link: int, address: bytes, prefix_length: int) -> Request:
    """An address that can be used at once: nobody is asked whether it is taken (IPv6's DAD)."""
    family = AF_INET if len(address) == 4 else AF_INET6
    body = _IP.pack(family, prefix_length, _IFA_NODAD if family == AF_INET6 else 0, 0, link)
    body += attribute(_IFA_LOCAL, address) + attribute(_IFA_ADDRESS, address)
    if family == AF_INET and prefix_length < 31:
        host_bits = (1 << 32 - prefix_length) - 1
        last = (int.from_bytes(address, "big") | host_bits).to_bytes(4, "big")
        body += attribute(_IFA_BROADCAST, last)
    return _NEWADDR, CREATE | EXCLUSIVE, body


def delete_address(link: int, address: bytes, prefix_length: int) -> Request:
    """An address goes."""
    family = AF_INET if len(address) == 4 else AF_INET6
    return _DELADDR, 0, _IP.pack(family, prefix_length, 0, 0, link) + attribute(_IFA_LOCAL, address)


def default_route(link: int, gateway: bytes) -> Request:
    """Everything that is not near goes through a gateway."""
    family = AF_INET if len(gateway) == 4 else AF_INET6
    body = _ROUTE.pack(family, 0, 0, 0, _TABLE_MAIN, _PROTOCOL_STATIC, 0, _UNICAST, 0)
    body += attribute(_RTA_GATEWAY, gateway) + attribute(_RTA_OIF, pack("=I", link))
    return _NEWROUTE, CREATE | EXCLUSIVE, body


def routes(socket: RouteSocket) -> list[Route]:
    """The unicast routes of the main table, of both families."""
    found = []
    for family in (AF_INET, AF_INET6):
        for body in socket.ask(_GETROUTE, DUMP, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
            _, length, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(body)
            if table != _TABLE_MAIN or kind != _UNICAST:
                continue
            values = dict(attributes(body[_ROUTE.size :]))
            link = unpack_from("=I", values[_RTA_OIF])[0] if _RTA_OIF in values else 0
            found.append(Route(family, values.get(_RTA_DST, b""), length, link))
    return found
