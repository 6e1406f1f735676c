"""Addresses of IPv4 and IPv6 as bytes, their networks, and the ones that are free."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from cloche.errors import InvalidArgument
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def parse(text: str) -> bytes:
    """4 or 16 bytes. Raises ValueError."""
    for family in (AF_INET, AF_INET6):
        try:
            return inet_pton(family, text)
        except (OSError, ValueError):
            continue
    raise ValueError(f"{text[:60]!r} is no IP address")


def show(address: bytes) -> str:
    """As people write it."""
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


def check(text: str, what: str) -> bytes:
    """As `parse`. what: names the value. Raises InvalidArgument."""
    try:
        return parse(text)
    except ValueError as error:
        raise InvalidArgument(f"invalid {what}: {error}") from None


class Subnet(Record):
    """A network: its first address, and how many of its bits are the network's."""

    address: bytes
    prefix_length: int

    @classmethod
    def parse(cls, text: str, what: str = "subnet") -> Subnet:
        """ADDRESS/LENGTH, without bits behind the length. Raises InvalidArgument."""
        address, _, length = text.partition("/")
        try:
            packed = parse(address)
            if not (
                length.isascii() and length.isdigit() and len(length) < 4 and int(length) <= len(packed) * 8
            ):
                raise ValueError(f"{text[:60]!r} needs a prefix length, as 10.1.0.0/16")
        except ValueError as error:
            raise InvalidArgument(f"invalid {what}: {error}") from None
        subnet = cls(packed, int(length))
        if subnet.first != int.from_bytes(packed, "big"):
            right = cls.at(subnet.first, subnet)
            raise InvalidArgument(f"invalid {what}: {text} has bits behind its length: {right} is meant?")
        return subnet

    @classmethod
    def at(cls, first: int, like: Subnet) -> Subnet:
        """The network of the same size that begins at a number."""
        return cls(first.to_bytes(len(like.address), "big"), like.prefix_length)

    def __str__(self) -> str:
        return f"{show(self.address)}/{self.prefix_length}"

    @property
    def version(self) -> int:
        """4 or 6."""
        return 4 if len(self.address) == 4 else 6

    @property
    def size(self) -> int:
        """How many addresses it has."""
        return 1 << len(self.address) * 8 - self.prefix_length

    @property
    def first(self) -> int:
        """Its first address, as a number."""
        return int.from_bytes(self.address, "big") & -self.size

    @property
    def end(self) -> bytes:
        """The address behind its last; all zeroes behind the last of all."""
        past = self.first + self.size
        return (past % (1 << len(self.address) * 8)).to_bytes(len(self.address), "big")

    def __contains__(self, address: bytes) -> bool:
        number = int.from_bytes(address, "big")
        return len(address) == len(self.address) and self.first <= number < self.first + self.size

    def overlaps(self, other: Subnet) -> bool:
        """Whether they have an address in common."""
        if self.version != other.version:
            return False
        return self.first < other.first + other.size and other.first < self.first + self.size

    def usable(self) -> tuple[int, int]:
        """Its first and last address that a host can have, as numbers."""
        if self.size <= 2:
            return self.first, self.first + self.size - 1
        # IPv6 has no broadcast address, but the last one is kept free all the same.
        return self.first + 1, self.first + self.size - 2

    def host(self, number: int) -> bytes:
        """The address that a number stands for."""
        return number.to_bytes(len(self.address), "big")


def free(subnet: Subnet, taken: Iterable[bytes], after: bytes = b"") -> bytes | None:
    """An address that nobody has: the next behind the last one given out, and then from the start.

    So that one that was just given back stays free for a while, with all that others remember of it.
    None where all are taken.
    """
    first, last = subnet.usable()
    begin = int.from_bytes(after, "big") + 1 if after in subnet else first
    gone = set(taken)
    for number in _round(first, last, begin, len(gone) + 1):
        address = subnet.host(number)
        if address not in gone:
            return address
    return None


def _round(first: int, last: int, begin: int, most: int) -> Iterator[int]:
    begin = begin if first <= begin <= last else first
    for step in range(min(most, last - first + 1)):
        yield first + (begin - first + step) % (last - first + 1)


_POOLS = (
    *(f"10.{number}.0.0/16" for number in range(180, 220)),
    *(f"192.168.{number}.0/20" for number in range(0, 256, 16)),
)


def free_subnet(used: Iterable[Subnet]) -> Subnet | None:
    """A private network of IPv4 that overlaps none of these; None where there is none left."""
    taken = list(used)
    for text in _POOLS:
        subnet = Subnet.parse(text)
        if not any(subnet.overlaps(other) for other in taken):
            return subnet
    return None


def random_subnet6(random: bytes) -> Subnet:
    """A unique local network of IPv6 (RFC 4193). random: 7 bytes."""
    return Subnet(b"\xfd" + random[:7] + bytes(8), 64)


def mac_of(address: bytes) -> bytes:
    """A hardware address that follows from one of IPv4: who remembers the last owner's finds the next."""
    return b"\x02\x42" + address[-4:]


def parse_mac(text: str) -> bytes:
    """Six bytes. Raises InvalidArgument."""
    parts = text.replace("-", ":").split(":")
    if len(parts) != 6 or not all(
        len(part) == 2 and not part.strip("0123456789abcdefABCDEF") for part in parts
    ):
        raise InvalidArgument(f"invalid MAC address {text[:40]!r}: must be as 02:42:ac:11:00:02")
    mac = bytes(int(part, 16) for part in parts)
    if mac[0] & 1:
        raise InvalidArgument(f"invalid MAC address {text}: it is a group's")
    return mac


def show_mac(mac: bytes) -> str:
    """As people write it."""
    return ":".join(f"{byte:02x}" for byte in mac)
