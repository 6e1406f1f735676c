"""nf_tables through netlink: tables, chains, rules, sets and maps, without a program beside us.

A rule is a list of expressions, values that can both be sent and be shown in nft's own words.
Everything of one `Batch` happens at once or not at all. Numbers are big-endian here, unlike in
other netlink families.
"""

from __future__ import annotations

from _struct import pack, unpack_from

from cloche.kernel.netlink import (
    ACK,
    CREATE,
    DUMP,
    EXCLUSIVE,
    HEADER,
    REQUEST,
    Netlink,
    attribute,
    attributes,
    messages,
    nested,
    raise_error,
    text,
)
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.kernel.nft_expressions import Expression

INET, IP = 1, 2
_NETLINK_NETFILTER = 12
_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEWTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN = 0, 2, 3, 4
_NEWRULE, _NEWSET, _NEWSETELEM, _GETSETELEM, _DELSETELEM, _GETGEN = 6, 9, 12, 13, 14, 16
_APPEND = 0x800
_ERROR = 2

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
_MAP, _INTERVAL = 0x8, 0x4
_INTERVAL_END = 1
_LIST_ELEMENT = 1
_DROP, ACCEPT = 0, 1
_BUFFER = 1 << 18


class Type(Record):
    """A type of keys and values. number: by which nft knows how to show it; size_bytes: padded to four."""

    name: str
    number: int
    size_bytes: int

    def __add__(self, other: Type) -> Type:
        """Both, one behind the other (a concatenation)."""
        return Type(
            f"{self.name} . {other.name}", self.number << 6 | other.number, self.size_bytes + other.size_bytes
        )


ADDRESS4 = Type("ipv4_addr", 7, 4)
ADDRESS6 = Type("ipv6_addr", 8, 16)
PROTOCOL = Type("inet_proto", 12, 4)
PORT = Type("inet_service", 13, 4)
INTERFACE = Type("ifname", 41, 16)


class Set(Record):
    """A set, or a map where it has values. ranges: whether elements are networks."""

    name: str
    keys: Type
    values_type: Type | None = None
    ranges: bool = False

    def describe(self) -> str:
        """As nft writes its declaration."""
        kind = "map" if self.values_type else "set"
        value = f" : {self.values_type.name}" if self.values_type else ""
        flags = " flags interval;" if self.ranges else ""
        return f"{kind} {self.name} {{ type {self.keys.name}{value};{flags} }}"


class Chain(Record):
    """A chain with its rules; a base chain where it has a hook. kind: "filter" or "nat"."""

    name: str
    rules: tuple[tuple[Expression, ...], ...]
    kind: str = ""
    hook: int = 0
    priority: int = 0

    def describe(self) -> str:
        """As nft writes it."""
        lines = []
        if self.kind:
            hook = ("prerouting", "input", "forward", "output", "postrouting")[self.hook]
            lines.append(f"type {self.kind} hook {hook} priority {self.priority}; policy accept;")
        lines += [" ".join(each.describe() for each in rule) for rule in self.rules]
        return f"chain {self.name} {{\n" + "".join(f"    {line}\n" for line in lines) + "}"


class Batch:
    """Changes to one table that are made together."""

    def __init__(self, table: str, family: int = INET) -> None:
        self.table = table
        self.family = family
        self.requests: list[tuple[int, int, bytes]] = []

    def _add(self, kind: int, flags: int, *values: bytes) -> None:
        self.requests.append((kind, flags, b"".join(values)))

    def add_table(self) -> None:
        """Fails where it is there."""
        self._add(_NEWTABLE, CREATE | EXCLUSIVE, text(1, self.table))

    def delete_table(self) -> None:
        """With all that is in it."""
        self._add(_DELTABLE, 0, text(1, self.table))

    def add_set(self, each: Set, number: int) -> None:
        """number: of this set in the batch."""
        flags = (_MAP if each.values_type else 0) | (_INTERVAL if each.ranges else 0)
        values = [text(1, self.table), text(2, each.name), attribute(3, pack(">I", flags))]
        values += [attribute(4, pack(">I", each.keys.number)), attribute(5, pack(">I", each.keys.size_bytes))]
        if each.values_type:
            values.append(attribute(6, pack(">I", each.values_type.number)))
            values.append(attribute(7, pack(">I", each.values_type.size_bytes)))
        if each.keys == INTERFACE:
            # nft shows such a name only where it is told that its bytes are in this machine's order.
            values.append(attribute(13, pack("=BBI", 0, 4, 1)))
        self._add(_NEWSET, CREATE | EXCLUSIVE, *values, attribute(10, pack(">I", number)))

    def add_chain(self, chain: Chain) -> None:
        """Without its rules, which may speak of other chains."""
        values = [text(1, self.table), text(3, chain.name)]
        if chain.kind:
            hook = attribute(1, pack(">I", chain.hook)) + attribute(2, pack(">i", chain.priority))
            values += [nested(4, hook), attribute(5, pack(">I", ACCEPT)), text(7, chain.kind)]
        self._add(_NEWCHAIN, CREATE | EXCLUSIVE, *values)

    def add_rules(self, chain: Chain) -> None:
        """The rules of a chain that is there."""
        for rule in chain.rules:
            expressions = b"".join(nested(_LIST_ELEMENT, part) for each in rule for part in each.encode())
            values = (text(1, self.table), text(2, chain.name), nested(4, expressions))
            self._add(_NEWRULE, CREATE | _APPEND, *values)

    def add_elements(self, each: Set, elements: Sequence[tuple[bytes, bytes]]) -> None:
        """(key, value) pairs; the value is empty in a set. A pair that is there already is no error."""
        self._add(_NEWSETELEM, CREATE, self._elements(each, elements))

    def delete_elements(self, each: Set, elements: Sequence[tuple[bytes, bytes]]) -> None:
        """The whole batch fails with ENOENT where one of them is not there."""
        self._add(_DELSETELEM, 0, self._elements(each, elements))

    def add_network(self, each: Set, first: bytes, end: bytes) -> None:
        """All keys from `first` on, up to but not including `end`."""
        self._add(_NEWSETELEM, CREATE, self._range(each, first, end))

    def delete_network(self, each: Set, first: bytes, end: bytes) -> None:
        """As `delete_elements`."""
        self._add(_DELSETELEM, 0, self._range(each, first, end))

    def _range(self, each: Set, first: bytes, end: bytes) -> bytes:
        flag = attribute(3, pack(">I", _INTERVAL_END))
        values = [nested(_LIST_ELEMENT, _key(first)), nested(_LIST_ELEMENT, flag, _key(end))]
        return text(1, self.table) + text(2, each.name) + nested(3, *values)

    def _elements(self, each: Set, elements: Sequence[tuple[bytes, bytes]]) -> bytes:
        listed = [
            nested(_LIST_ELEMENT, _key(key), nested(2, attribute(1, value)) if value else b"")
            for key, value in elements
        ]
        return text(1, self.table) + text(2, each.name) + nested(3, *listed)


def _key(value: bytes) -> bytes:
    return nested(1, attribute(1, value))


class NftSocket(Netlink):
    """A socket of nf_tables in the network namespace of its opening."""

    protocol = _NETLINK_NETFILTER

    def __enter__(self) -> NftSocket:
        return self

    def commit(self, batch: Batch) -> None:
        """All of it, or nothing. Raises the first OSError that the kernel has to say."""
        self._sequence += 1
        data = _message(_BATCH_BEGIN, REQUEST, self._sequence, 0, _SUBSYSTEM, b"")
        first = self._sequence + 1
        for kind, flags, body in batch.requests:
            self._sequence += 1
            whole = REQUEST | ACK | flags
            data += _message(_SUBSYSTEM << 8 | kind, whole, self._sequence, batch.family, 0, body)
        self._sequence += 1
        data += _message(_BATCH_END, REQUEST, self._sequence, 0, _SUBSYSTEM, b"")
        self._socket.send(data)
        left = set(range(first, self._sequence))
        while left:
            for reply, flags, sequence, content in messages(self._socket.recv(_BUFFER)):
                # What concerns the batch as a whole comes with the number of its first message.
                if reply == _ERROR and first - 1 <= sequence <= self._sequence:
                    raise_error(content, flags)
                    left.discard(sequence)

    def generation(self) -> int:
        """The number of the kernel's present set of rules. Raises OSError where it has no nf_tables."""
        (body,) = self.ask(_SUBSYSTEM << 8 | _GETGEN, 0, pack(">BBH", 0, 0, 0))
        return next((unpack_from(">I", value)[0] for kind, value in attributes(body[4:]) if kind == 1), 0)

    def base_chains(self) -> list[tuple[int, str, str, int, int]]:
        """(family, table, chain, hook, policy) of every chain that has a hook; policy 0 drops."""
        found = []
        for body in self.ask(_SUBSYSTEM << 8 | _GETCHAIN, DUMP, pack(">BBH", 0, 0, 0)):
            values = dict(attributes(body[4:]))
            if 4 in values:
                hook = dict(attributes(values[4]))
                policy = unpack_from(">I", values[5])[0] if 5 in values else ACCEPT
                found.append(
                    (body[0], _word(values[1]), _word(values[3]), unpack_from(">I", hook[1])[0], policy)
                )
        return found

    def elements(self, table: str, each: Set) -> list[tuple[bytes, bytes]]:
        """(key, value) of all that is in a set or map. Raises FileNotFoundError where that is missing."""
        body = pack(">BBH", INET, 0, 0) + text(1, table) + text(2, each.name)
        found = []
        for reply in self.ask(_SUBSYSTEM << 8 | _GETSETELEM, DUMP, body):
            for kind, listed in attributes(reply[4:]):
                if kind == 3:
                    found += [_element(value) for _, value in attributes(listed)]
        return found


def _element(data: bytes) -> tuple[bytes, bytes]:
    values = dict(attributes(data))
    key, value = (dict(attributes(values.get(kind, b""))).get(1, b"") for kind in (1, 2))
    return key, value


def _word(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _message(kind: int, flags: int, sequence: int, family: int, resource: int, body: bytes) -> bytes:
    content = pack(">BBH", family, 0, resource) + body
    return (
        HEADER.pack(HEADER.size + len(content), kind, flags, sequence, 0) + content + bytes(-len(content) % 4)
    )
