"""What rules of nf_tables consist of. Each can be sent to the kernel and shown in nft's words.

Values travel in registers: an expression loads one, the next compares it or looks it up.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop
from _struct import pack
from abc import ABC, abstractmethod

from cloche.kernel.netlink import attribute, nested, text
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_REGISTER = 8  # the first of four bytes; a concatenation goes on in those behind it
_VERDICT_REGISTER = 0
_EQUAL, _UNEQUAL = 0, 1
_NETWORK, _TRANSPORT = 1, 2
_META = {"iifname": 6, "oifname": 7, "nfproto": 15, "l4proto": 16}
_CT_STATE, _CT_STATUS = 0, 2
_ESTABLISHED, _RELATED = 2, 4
_DESTINATION_CHANGED = 0x20
_FIB_ADDRTYPE, _FIB_DADDR, _LOCAL = 3, 2, 2
_VERDICTS = {"drop": 0, "accept": 1, "jump": -3, "return": -5}
_FIELDS = {
    # where, at which byte, how many
    "ip saddr": (_NETWORK, 12, 4),
    "ip daddr": (_NETWORK, 16, 4),
    "ip6 saddr": (_NETWORK, 8, 16),
    "ip6 daddr": (_NETWORK, 24, 16),
    "th dport": (_TRANSPORT, 2, 2),
}
IPV4, IPV6 = 2, 10


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, pack(">I", value & 0xFFFFFFFF))


def _expression(name: str, *values: bytes) -> bytes:
    return text(1, name) + nested(2, *values)


def _load(name: str, register: int) -> bytes:
    if name in _META:
        return _expression("meta", _u32(1, register), _u32(2, _META[name]))
    base, offset, size = _FIELDS[name]
    return _expression("payload", _u32(1, register), _u32(2, base), _u32(3, offset), _u32(4, size))


def _compare(operator: int, value: bytes) -> bytes:
    return _expression("cmp", _u32(1, _REGISTER), _u32(2, operator), nested(3, attribute(1, value)))


def _loads(names: tuple[str, ...]) -> Iterator[bytes]:
    """Load values one behind the other, each padded to four bytes."""
    register = _REGISTER
    for name in names:
        yield _load(name, register)
        register += (_FIELDS[name][2] + 3) // 4 if name in _FIELDS else 4 if name.endswith("ifname") else 1


class Expression(Record, ABC):
    """Base of all."""

    @abstractmethod
    def encode(self) -> Iterator[bytes]:
        """The kernel's expressions that it stands for."""

    @abstractmethod
    def describe(self) -> str:
        """As nft writes it."""


class Family(Expression):
    """Packets of IPv4 or IPv6 alone."""

    family: int

    def encode(self) -> Iterator[bytes]:
        """See the class."""
        yield _load("nfproto", _REGISTER)
        yield _compare(_EQUAL, bytes((self.family,)))

    def describe(self) -> str:
        """See the class."""
        return f"meta nfproto {'ipv4' if self.family == IPV4 else 'ipv6'}"


class InSet(Expression):
    """Values that are in a set (not in it, where `inverted`)."""

    names: tuple[str, ...]
    set_name: str
    inverted: bool = False

    def encode(self) -> Iterator[bytes]:
        """See the class."""
        yield from _loads(self.names)
        flags = (_u32(5, 1),) if self.inverted else ()
        yield _expression("lookup", text(1, self.set_name), _u32(2, _REGISTER), *flags)

    def describe(self) -> str:
        """See the class."""
        return f"{' . '.join(map(_shown, self.names))} {'!= ' if self.inverted else ''}@{self.set_name}"


class Network4(Expression):
    """Packets to a network of IPv4."""

    address: bytes
    prefix_length: int

    def encode(self) -> Iterator[bytes]:
        """See the class."""
        mask = (0xFFFFFFFF << 32 - self.prefix_length & 0xFFFFFFFF).to_bytes(4, "big")
        yield _load("ip daddr", _REGISTER)
        values = (nested(4, attribute(1, mask)), nested(5, attribute(1, bytes(4))))
        yield _expression("bitwise", _u32(1, _REGISTER), _u32(2, _REGISTER), _u32(3, 4), *values)
        yield _compare(_EQUAL, self.address)

    def describe(self) -> str:
        """See the class."""
        return f"ip daddr {inet_ntop(AF_INET, self.address)}/{self.prefix_length}"


class To(Expression):
    """Packets to one address."""

    address: bytes

    def encode(self) -> Iterator[bytes]:
        """See the class."""
        yield _load("ip daddr" if len(self.address) == 4 else "ip6 daddr", _REGISTER)
        yield _compare(_EQUAL, self.address)

    def describe(self) -> str:
        """See the class."""
        if len(self.address) == 4:
            return f"ip daddr {inet_ntop(AF_INET, self.address)}"
        return f"ip6 daddr {inet_ntop(AF_INET6, self.address)}"


class ToPort(Expression):
    """Packets of a protocol (6 is tcp, 17 udp) to a port."""

    protocol: int
    port: int

    def encode(self) -> Iterator[bytes]:
        """See the class."""
        yield _load("l4proto", _REGISTER)
        yield _compare(_EQUAL, bytes((self.protocol,)))
        yield _load("th dport", _REGISTER)
        yield _compare(_EQUAL, pack(">H", self.port))

    def describe(self) -> str:
        """See the class."""
        return f"{'tcp' if self.protocol == 6 else 'udp'} dport {self.port}"


class ToThisMachine(Expression):
    """Packets to any address that is the machine's own."""

    def encode(self) -> Iterator[bytes]:
        """See the class."""
        yield _expression("fib", _u32(1, _REGISTER), _u32(2, _FIB_ADDRTYPE), _u32(3, _FIB_DADDR))
        yield _compare(_EQUAL, pack("=I", _LOCAL))

    def describe(self) -> str:
        """See the class."""
        return "fib daddr type local"


class Known(Expression):
    """Packets of connections that are under way."""

    def encode(self) -> Iterator[bytes]:
        """See the class."""
        yield from _masked_ct(_CT_STATE, _ESTABLISHED | _RELATED)

    def describe(self) -> str:
        """See the class."""
        return "ct state established,related"


class Published(Expression):
    """Packets of connections whose destination a rule has changed."""

    def encode(self) -> Iterator[bytes]:
        """See the class."""
        yield from _masked_ct(_CT_STATUS, _DESTINATION_CHANGED)

    def describe(self) -> str:
        """See the class."""
        return "ct status dnat"


def _masked_ct(key: int, mask: int) -> Iterator[bytes]:
    yield _expression("ct", _u32(1, _REGISTER), _u32(2, key))
    values = (nested(4, attribute(1, pack("=I", mask))), nested(5, attribute(1, bytes(4))))
    yield _expression("bitwise", _u32(1, _REGISTER), _u32(2, _REGISTER), _u32(3, 4), *values)
    yield _compare(_UNEQUAL, bytes(4))


class Forwarded(Expression):
    """dnat: to the address and port that a map has for a packet; one that it has not goes on."""

    family: int
    names: tuple[str, ...]
    map_name: str

    def encode(self) -> Iterator[bytes]:
        """See the class."""
        yield from _loads(self.names)
        yield _expression("lookup", text(1, self.map_name), _u32(2, _REGISTER), _u32(3, _REGISTER))
        port = _REGISTER + (1 if self.family == IPV4 else 4)
        values = (_u32(1, 1), _u32(2, self.family), _u32(3, _REGISTER), _u32(5, port))
        yield _expression("nat", *values)

    def describe(self) -> str:
        """See the class."""
        family = "ip" if self.family == IPV4 else "ip6"
        return f"dnat {family} addr . port to {' . '.join(map(_shown, self.names))} map @{self.map_name}"


class Redirected(Expression):
    """dnat: to one address and port."""

    address: bytes
    port: int

    def encode(self) -> Iterator[bytes]:
        """See the class."""
        data = ((_REGISTER, self.address), (_REGISTER + 1, pack(">H", self.port)))
        for register, value in data:
            yield _expression("immediate", _u32(1, register), nested(2, attribute(1, value)))
        values = (_u32(1, 1), _u32(2, IPV4), _u32(3, _REGISTER), _u32(5, _REGISTER + 1))
        yield _expression("nat", *values)

    def describe(self) -> str:
        """See the class."""
        return f"dnat ip to {inet_ntop(AF_INET, self.address)}:{self.port}"


class Masquerade(Expression):
    """The packet leaves with the address of the interface it leaves by."""

    def encode(self) -> Iterator[bytes]:
        """See the class."""
        yield _expression("masq")

    def describe(self) -> str:
        """See the class."""
        return "masquerade"


class Verdict(Expression):
    """accept, drop, return, or jump to a chain."""

    word: str
    chain: str = ""

    def encode(self) -> Iterator[bytes]:
        """See the class."""
        code = _u32(1, _VERDICTS[self.word])
        chain = text(2, self.chain) if self.chain else b""
        yield _expression("immediate", _u32(1, _VERDICT_REGISTER), nested(2, nested(2, code, chain)))

    def describe(self) -> str:
        """See the class."""
        return f"{self.word} {self.chain}".strip()


def _shown(name: str) -> str:
    return f"meta {name}" if name == "l4proto" else name
