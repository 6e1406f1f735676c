"""Networks and published ports as elements of our table of nf_tables, or else as rules of iptables."""

from __future__ import annotations

import os
from _struct import pack

from cloche.errors import AlreadyExists, InvalidArgument
from cloche.kernel.nftables import Batch, NftSocket, Set
from cloche.network import addresses, rule_sets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cloche.network.attachments import PublishedPort
    from cloche.network.definitions import Definition
    from cloche.network.iptables import Iptables

    Everything = Callable[[], tuple[Iterable[Definition], Iterable[PublishedPort]]]

_PROTOCOLS = {"tcp": 6, "udp": 17}
_NAME_BYTES = 16
_KINDS = ("nftables", "iptables")
_FORWARD, _DROP = 2, 0


def table_of(state: str) -> str:
    """The table's name: one for each state directory, and the plain one for the machine's own."""
    if state == "/run/cloche":
        return "cloche"
    number = 0xCBF29CE484222325
    for byte in state.encode():
        number = (number ^ byte) * 0x100000001B3 % (1 << 64)
    return f"cloche-{number >> 32:08x}"


def of(state: str, everything: Everything) -> Nftables | Iptables:
    """The firewall of a state directory: the one that its rules are in already, or else what
    CLOCHE_FIREWALL names ("nftables" or "iptables"), or else nf_tables where the kernel has them.

    everything: all networks and ports that there should be. Raises InvalidArgument for the variable.
    """
    asked = os.environ.get("CLOCHE_FIREWALL", "")
    if asked not in ("", *_KINDS):
        raise InvalidArgument(f'invalid CLOCHE_FIREWALL {asked[:40]!r}: must be "nftables" or "iptables"')
    try:
        kind = os.readlink(_choice(state))
    except FileNotFoundError:
        kind = asked or ("nftables" if _has_nf_tables() else "iptables")
    if kind != "iptables":
        return Nftables(state, everything)
    from cloche.network.iptables import Iptables

    return Iptables(table_of(state), everything)


def settle(state: str, chosen: Nftables | Iptables) -> None:
    """From now on there are rules in this one: who removes them may have another environment."""
    kind = _KINDS[0] if isinstance(chosen, Nftables) else _KINDS[1]
    try:
        os.symlink(kind, _choice(state))
    except FileExistsError:
        return


def unsettle(state: str) -> None:
    """There are none any more."""
    try:
        os.unlink(_choice(state))
    except FileNotFoundError:
        return


def _choice(state: str) -> str:
    return f"{state}/.network/firewall"


def _has_nf_tables() -> bool:
    try:
        with NftSocket() as socket:
            socket.generation()
    except OSError:
        return False
    return True


class Nftables:
    """The table of one state directory. Methods raise OSError with what the kernel says."""

    def __init__(self, state: str, everything: Everything) -> None:
        self.table = table_of(state)
        self._everything = everything

    def add(self, networks: Iterable[Definition], ports: Iterable[PublishedPort]) -> None:
        """Have rules for networks, which may be there already, and for ports.

        Where the table is missing, be it that there was none yet or that somebody has flushed the
        rules, it is made with everything that should be there. Raises AlreadyExists where a port is
        published by another container.
        """
        with NftSocket() as socket:
            try:
                socket.commit(self._batch(networks, ports))
            except FileNotFoundError:
                batch = self._batch(*self._everything(), begin=True)
                socket.commit(batch)
            except FileExistsError:
                raise AlreadyExists("port is already allocated") from None

    def _batch(
        self, networks: Iterable[Definition], ports: Iterable[PublishedPort], *, begin: bool = False
    ) -> Batch:
        batch = Batch(self.table)
        if begin:
            from cloche.network.rules import add_table

            add_table(batch)
        for network in networks:
            for each, key in _names(network):
                batch.add_elements(each, [(key, b"")])
            if not network.internal:
                for subnet in network.subnets():
                    batch.add_network(rule_sets.NETWORKS[subnet.version], subnet.address, subnet.end)
        for port in ports:
            for each, key, value in elements(port):
                batch.add_elements(each, [(key, value)])
        return batch

    def remove_ports(self, ports: Iterable[PublishedPort]) -> None:
        """Those that are not there do not matter."""
        with NftSocket() as socket:
            for port in ports:
                for each, key, _ in elements(port):
                    batch = Batch(self.table)
                    batch.delete_elements(each, [(key, b"")])
                    _try(socket, batch)

    def remove_network(self, network: Definition) -> None:
        """What is not there does not matter."""
        with NftSocket() as socket:
            for each, key in _names(network):
                batch = Batch(self.table)
                batch.delete_elements(each, [(key, b"")])
                _try(socket, batch)
            for subnet in network.subnets():
                batch = Batch(self.table)
                batch.delete_network(rule_sets.NETWORKS[subnet.version], subnet.address, subnet.end)
                _try(socket, batch)

    def remove_all(self) -> bool:
        """Remove the table; False where there is none."""
        batch = Batch(self.table)
        batch.delete_table()
        with NftSocket() as socket:
            return _try(socket, batch)

    def present(self) -> bool:
        """Whether the table is there."""
        with NftSocket() as socket:
            try:
                socket.elements(self.table, rule_sets.BRIDGES)
            except FileNotFoundError:
                return False
        return True

    def published(self) -> Iterator[tuple[Set, bytes, bytes]]:
        """(map, key, value) of every port that the rules know."""
        with NftSocket() as socket:
            for each in (*rule_sets.PORTS.values(), *rule_sets.PORTS_AT.values()):
                try:
                    found = socket.elements(self.table, each)
                except FileNotFoundError:
                    continue
                yield from ((each, key, value) for key, value in found)

    def remove_element(self, each: Set, key: bytes) -> None:
        """One port of `published`."""
        batch = Batch(self.table)
        batch.delete_elements(each, [(key, b"")])
        with NftSocket() as socket:
            _try(socket, batch)

    def explain(self, networks: Iterable[Definition], ports: Iterable[PublishedPort]) -> str:
        """The commands of nft that would do the same, in its own words."""
        from cloche.network import rules

        lines = [rules.describe(self.table)]
        for network in networks:
            name = f'"{network.link}"'
            lines.append(f"add element inet {self.table} bridges {{ {name} }}")
            lines.append(f"add element inet {self.table} same {{ {name} . {name} }}")
            if network.internal:
                lines.append(f"add element inet {self.table} internal {{ {name} }}")
            else:
                lines += [
                    f"add element inet {self.table} networks{subnet.version} {{ {subnet} }}"
                    for subnet in network.subnets()
                ]
        lines += [line for port in ports for line in self.explain_port(port)]
        return "\n".join(lines) + "\n"

    def explain_port(self, port: PublishedPort) -> list[str]:
        """The commands of nft that publish one port."""
        lines = []
        for each, key, value in elements(port):
            size = 4 if each in (rule_sets.PORTS[4], rule_sets.PORTS_AT[4]) else 16
            at = f"{addresses.show(key[:size])} . " if each in rule_sets.PORTS_AT.values() else ""
            leads_to = f"{addresses.show(value[:size])} . {port.container_port}"
            what = f"{at}{port.protocol} . {port.host_port} : {leads_to}"
            lines.append(f"add element inet {self.table} {each.name} {{ {what} }}")
        return lines


def elements(port: PublishedPort) -> Iterator[tuple[Set, bytes, bytes]]:
    """(map, key, value) of each rule that a port needs; none where the proxy does it all."""
    if not port.nat:
        return
    at = addresses.parse(port.host_ip) if port.host_ip else b""
    if at and not any(at):
        at = b""  # every address of that family
        versions: tuple[int, ...] = (4 if "." in port.host_ip else 6,)
    else:
        versions = (4, 6) if not at else (4 if len(at) == 4 else 6,)
    key = bytes((_PROTOCOLS[port.protocol], 0, 0, 0)) + pack(">H2x", port.host_port)
    for version, address in ((4, port.ip), (6, port.ip6)):
        if address and version in versions:
            value = addresses.parse(address) + pack(">H2x", port.container_port)
            yield (rule_sets.PORTS_AT if at else rule_sets.PORTS)[version], at + key, value


def refusals() -> list[str]:
    """The tables that drop by default what is forwarded, as Docker, ufw and firewalld have it.

    What our rules accept is dropped all the same there: each table has its say.
    """
    families = {1: "inet", 2: "ip", 10: "ip6", 7: "bridge", 5: "netdev"}
    with NftSocket() as socket:
        return [
            f"{families.get(family, family)} {table} {chain}"
            for family, table, chain, hook, policy in socket.base_chains()
            if hook == _FORWARD and policy == _DROP and family in (1, 2, 10)
        ]


def _names(network: Definition) -> Iterator[tuple[Set, bytes]]:
    name = network.link.encode().ljust(_NAME_BYTES, b"\0")
    yield rule_sets.BRIDGES, name
    yield rule_sets.SAME, name + name
    if network.internal:
        yield rule_sets.INTERNAL, name


def _try(socket: NftSocket, batch: Batch) -> bool:
    try:
        socket.commit(batch)
    except FileNotFoundError:
        return False
    return True
