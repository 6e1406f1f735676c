"""Network devices through rtnetlink(7): looked up, made, moved between network namespaces, addressed.

Only what a runtime and its bridge need, in raw messages.
"""

from __future__ import annotations

from _socket import AF_UNSPEC
from _struct import Struct, pack, unpack_from

from cloche.kernel.netlink import CREATE, DUMP, EXCLUSIVE, Netlink, attribute, attributes
from cloche.spec.record import Record

_NETLINK_ROUTE = 0

_RTM_NEWLINK, _RTM_GETLINK, _RTM_NEWADDR, _RTM_GETADDR = 16, 18, 20, 22

_IFLA_IFNAME, _IFLA_NET_NS_FD = 3, 28
_IFA_LABEL, _IFA_CACHEINFO, _IFA_FLAGS = 3, 6, 8
_IFF_UP = 1
# Those that say how an address is used; the others are states that the kernel gives.
_KEPT_ADDRESS_FLAGS = 0x02 | 0x10 | 0x100 | 0x200 | 0x400  # NODAD, HOMEADDRESS, TEMPADDR, NOPREFIXROUTE, …
_IFA_F_PERMANENT = 0x80

_LINK = Struct("=BxHiII")
_ADDRESS = Struct("=4BI")


class Link(Record):
    """A network device: its index in the socket's namespace, its name, whether it is up."""

    index: int
    name: str
    up: bool


class Address(Record):
    """An address of a device as the kernel describes it.

    scope: 0 is global. attributes: (type, value) as they came, for the kernel to read again.
    """

    family: int
    prefix_length: int
    flags: int
    scope: int
    attributes: tuple[tuple[int, bytes], ...]

    @property
    def permanent(self) -> bool:
        """Whether it was given by somebody and not learnt, to expire."""
        return bool(self.flags & _IFA_F_PERMANENT)


class RouteSocket(Netlink):
    """A socket of NETLINK_ROUTE."""

    protocol = _NETLINK_ROUTE

    def __enter__(self) -> RouteSocket:
        return self

    def links(self) -> list[Link]:
        """Every device of the namespace."""
        replies = self.ask(_RTM_GETLINK, DUMP, _LINK.pack(AF_UNSPEC, 0, 0, 0, 0))
        return [_link(body) for body in replies]

    def link(self, name: str) -> Link:
        """The device of that name. Raises OSError with ENODEV."""
        body = _LINK.pack(AF_UNSPEC, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, name.encode() + b"\0")
        return _link(next(iter(self.ask(_RTM_GETLINK, 0, body))))

    def set_up(self, index: int, *, up: bool) -> None:
        """Bring a device up or down."""
        self.ask(_RTM_NEWLINK, 0, _LINK.pack(AF_UNSPEC, 0, index, _IFF_UP if up else 0, _IFF_UP))

    def move(self, index: int, namespace: int, name: str) -> None:
        """Move a device to another network namespace, by its descriptor, and rename it on the way.

        name: a %d in it becomes the first number that is free there. Raises OSError with EEXIST
        when the name is taken.
        """
        body = _LINK.pack(AF_UNSPEC, 0, index, 0, 0)
        body += attribute(_IFLA_IFNAME, name.encode() + b"\0")
        self.ask(_RTM_NEWLINK, 0, body + attribute(_IFLA_NET_NS_FD, pack("=I", namespace)))

    def addresses(self, index: int) -> list[Address]:
        """All addresses of a device, of any family."""
        found = []
        for body in self.ask(_RTM_GETADDR, DUMP, _ADDRESS.pack(AF_UNSPEC, 0, 0, 0, index)):
            family, length, flags, scope, owner = _ADDRESS.unpack_from(body)
            if owner == index:
                found_attributes = tuple(attributes(body[_ADDRESS.size :]))
                for kind, value in found_attributes:
                    if kind == _IFA_FLAGS:
                        (flags,) = unpack_from("=I", value)
                found.append(Address(family, length, flags, scope, found_attributes))
        return found

    def add_address(self, index: int, address: Address) -> None:
        """Give a device an address that another had, or it itself elsewhere.

        Without the label, which begins with a device's name, and the times of learnt addresses.
        """
        body = _ADDRESS.pack(address.family, address.prefix_length, 0, address.scope, index)
        for kind, value in address.attributes:
            if kind not in (_IFA_LABEL, _IFA_CACHEINFO, _IFA_FLAGS):
                body += attribute(kind, value)
        body += attribute(_IFA_FLAGS, pack("=I", address.flags & _KEPT_ADDRESS_FLAGS))
        self.ask(_RTM_NEWADDR, CREATE | EXCLUSIVE, body)


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    names = [value for kind, value in attributes(body[_LINK.size :]) if kind == _IFLA_IFNAME]
    return Link(
        index, names[0].rstrip(b"\0").decode(errors="replace") if names else "", bool(flags & _IFF_UP)
    )
