"""Network devices through rtnetlink(7): looked up, moved between network namespaces, addressed.

Only what a runtime needs, in raw messages. A netlink socket belongs to the network namespace it was
opened in for ever, so whoever is given one can work there without entering it.
"""

from __future__ import annotations

import os
from _socket import AF_UNSPEC, SOCK_CLOEXEC, SOCK_RAW, socket
from _struct import Struct, pack, unpack_from

from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_AF_NETLINK, _NETLINK_ROUTE = 16, 0
_SOL_NETLINK, _EXTENDED_ERRORS, _STRICT_CHECKS = 270, 11, 12

_RTM_NEWLINK, _RTM_GETLINK, _RTM_NEWADDR, _RTM_GETADDR = 16, 18, 20, 22
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP, _CREATE, _EXCLUSIVE = 0x1, 0x4, 0x300, 0x400, 0x200
_ERROR_IS_CAPPED, _ERROR_HAS_WORDS = 0x100, 0x200
_WORDS = 1

_IFLA_IFNAME, _IFLA_NET_NS_FD = 3, 28
_IFA_LABEL, _IFA_CACHEINFO, _IFA_FLAGS = 3, 6, 8
_IFF_UP = 1
# Those that say how an address is used; the others are states that the kernel gives.
_KEPT_ADDRESS_FLAGS = 0x02 | 0x10 | 0x100 | 0x200 | 0x400  # NODAD, HOMEADDRESS, TEMPADDR, NOPREFIXROUTE, …
_IFA_F_PERMANENT = 0x80
_NLA_TYPE_MASK = 0x3FFF

_HEADER = Struct("=IHHII")
_LINK = Struct("=BxHiII")
_ADDRESS = Struct("=4BI")
_BUFFER = 1 << 18


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


class RouteSocket:
    """A netlink socket; a context manager that closes it.

    descriptor: of one opened in another network namespace, taken over. None: one of our own.
    Methods raise OSError with the kernel's errno, and its own words where it has any.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            self._socket = socket(_AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, _NETLINK_ROUTE)
        else:
            self._socket = socket(fileno=descriptor)
        self._socket.setsockopt(_SOL_NETLINK, _EXTENDED_ERRORS, 1)
        self._socket.setsockopt(_SOL_NETLINK, _STRICT_CHECKS, 1)
        self._sequence = 0

    def __enter__(self) -> RouteSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def links(self) -> list[Link]:
        """Every device of the namespace."""
        replies = self._ask(_RTM_GETLINK, _DUMP, _LINK.pack(AF_UNSPEC, 0, 0, 0, 0))
        return [_link(body) for body in replies]

    def link(self, name: str) -> Link:
        """The device of that name. Raises OSError with ENODEV."""
        body = _LINK.pack(AF_UNSPEC, 0, 0, 0, 0) + _attribute(_IFLA_IFNAME, name.encode() + b"\0")
        return _link(next(iter(self._ask(_RTM_GETLINK, 0, body))))

    def set_up(self, index: int, *, up: bool) -> None:
        """Bring a device up or down."""
        self._ask(_RTM_NEWLINK, 0, _LINK.pack(AF_UNSPEC, 0, index, _IFF_UP if up else 0, _IFF_UP))

    def move(self, index: int, namespace: int, name: str) -> None:
        """Move a device to another network namespace, by its descriptor, and rename it on the way.

        name: a %d in it becomes the first number that is free there. Raises OSError with EEXIST
        when the name is taken.
        """
        body = _LINK.pack(AF_UNSPEC, 0, index, 0, 0)
        body += _attribute(_IFLA_IFNAME, name.encode() + b"\0")
        self._ask(_RTM_NEWLINK, 0, body + _attribute(_IFLA_NET_NS_FD, pack("=I", namespace)))

    def addresses(self, index: int) -> list[Address]:
        """All addresses of a device, of any family."""
        found = []
        for body in self._ask(_RTM_GETADDR, _DUMP, _ADDRESS.pack(AF_UNSPEC, 0, 0, 0, index)):
            family, length, flags, scope, owner = _ADDRESS.unpack_from(body)
            if owner == index:
                attributes = tuple(_attributes(body[_ADDRESS.size :]))
                for kind, value in attributes:
                    if kind == _IFA_FLAGS:
                        (flags,) = unpack_from("=I", value)
                found.append(Address(family, length, flags, scope, attributes))
        return found

    def add_address(self, index: int, address: Address) -> None:
        """Give a device an address that another had, or it itself elsewhere.

        Without the label, which begins with a device's name, and the times of learnt addresses.
        """
        body = _ADDRESS.pack(address.family, address.prefix_length, 0, address.scope, index)
        for kind, value in address.attributes:
            if kind not in (_IFA_LABEL, _IFA_CACHEINFO, _IFA_FLAGS):
                body += _attribute(kind, value)
        body += _attribute(_IFA_FLAGS, pack("=I", address.flags & _KEPT_ADDRESS_FLAGS))
        self._ask(_RTM_NEWADDR, _CREATE | _EXCLUSIVE, body)

    def _ask(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """Send a request and gather the bodies of its answer."""
        self._sequence += 1
        flags |= _REQUEST if flags & _DUMP == _DUMP else _REQUEST | _ACK
        size = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(size, kind, flags, self._sequence, 0) + body)
        replies: list[bytes] = []
        while True:
            data = self._socket.recv(_BUFFER)
            for reply, reply_flags, sequence, content in _messages(data):
                if sequence != self._sequence:
                    continue
                if reply == _ERROR:
                    _raise(content, reply_flags)
                if reply in (_ERROR, _DONE):
                    return replies
                replies.append(content)


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
        if size < _HEADER.size:
            return
        yield kind, flags, sequence, data[at + _HEADER.size : at + size]
        at += size + 3 & ~3


def _raise(content: bytes, flags: int) -> None:
    (error,) = unpack_from("=i", content)
    if not error:
        return
    words = os.strerror(-error)
    if flags & _ERROR_HAS_WORDS:
        (size,) = unpack_from("=I", content, 4)
        start = 4 + (_HEADER.size if flags & _ERROR_IS_CAPPED else size)
        for kind, value in _attributes(content[start:]):
            if kind == _WORDS:
                words = value.rstrip(b"\0").decode(errors="replace")
    raise OSError(-error, words)


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    names = [value for kind, value in _attributes(body[_LINK.size :]) if kind == _IFLA_IFNAME]
    return Link(
        index, names[0].rstrip(b"\0").decode(errors="replace") if names else "", bool(flags & _IFF_UP)
    )


def _attribute(kind: int, value: bytes) -> bytes:
    return pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        size, kind = unpack_from("=HH", data, at)
        if size < 4:
            return
        yield kind & _NLA_TYPE_MASK, data[at + 4 : at + size]
        at += size + 3 & ~3
