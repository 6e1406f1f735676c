"""Networks and published ports as rules of iptables, for kernels without nf_tables.

All our rules are in chains of our own, which are written anew, whole, at each change; the built-in
chains get one jump each. What a container sends out is accepted: the usual policies of FORWARD on
such machines would drop it.
"""

from __future__ import annotations

import os

from cloche.errors import FailedPrecondition
from cloche.network import addresses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from cloche.kernel.nftables import Set
    from cloche.network.attachments import PublishedPort
    from cloche.network.definitions import Definition
    from cloche.network.firewall import Everything


_PROGRAMS = {4: "iptables", 6: "ip6tables"}
_LOOPBACK = {4: "127.0.0.0/8", 6: "::1/128"}
_TO_LOCAL = ("-m", "addrtype", "--dst-type", "LOCAL")


class Iptables:
    """The chains of one state directory."""

    def __init__(self, name: str, everything: Everything) -> None:
        self._name = name.upper()
        self._everything = everything

    def add(self, networks: Iterable[Definition], ports: Iterable[PublishedPort]) -> None:
        """Have rules for everything, of which these are a part. Raises FailedPrecondition."""
        self._write()

    def remove_ports(self, ports: Iterable[PublishedPort]) -> None:
        """Those that are not there do not matter."""
        self._write(without_ports=frozenset(ports))

    def remove_network(self, network: Definition) -> None:
        """What is not there does not matter."""
        self._write(without_network=network.id)

    def remove_all(self) -> bool:
        """Remove the chains; False where there are none."""
        found = False
        for version in (4, 6):
            for table, chain, jump in self._jumps():
                words = ("-t", table, "-D", chain, *jump)
                while self._run(_PROGRAMS[version], *words, version=version) == 0:
                    found = True
            for table, chain in self._chains():
                self._run(_PROGRAMS[version], "-t", table, "-F", chain, version=version)
                self._run(_PROGRAMS[version], "-t", table, "-X", chain, version=version)
        return found

    def published(self) -> Iterator[tuple[Set, bytes, bytes]]:
        """Nothing: rules are written whole, and none is left over."""
        return iter(())

    def remove_element(self, each: Set, key: bytes) -> None:
        """See `published`."""

    def explain(self, networks: Iterable[Definition], ports: Iterable[PublishedPort]) -> str:
        """The input of iptables-restore and ip6tables-restore, and the jumps."""
        networks, ports = list(networks), list(ports)
        parts = []
        for version in (4, 6):
            jumps = (
                f"{_PROGRAMS[version]} -t {table} -I {chain} {' '.join(jump)}"
                for table, chain, jump in self._jumps()
            )
            parts.append(f"# {_PROGRAMS[version]}-restore --noflush\n{self._text(version, networks, ports)}")
            parts.append("".join(f"{line}\n" for line in jumps))
        return "".join(parts)

    def _chains(self) -> tuple[tuple[str, str], ...]:
        name = self._name
        return (("nat", f"{name}-PUB"), ("nat", f"{name}-OUT"), ("filter", f"{name}-FWD"))

    def _jumps(self) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
        name = self._name
        return (
            ("nat", "PREROUTING", (*_TO_LOCAL, "-j", f"{name}-PUB")),
            ("nat", "OUTPUT", (*_TO_LOCAL, "-j", f"{name}-PUB")),
            ("nat", "POSTROUTING", ("-j", f"{name}-OUT")),
            ("filter", "FORWARD", ("-j", f"{name}-FWD")),
        )

    def _write(self, *, without_ports: Collection[PublishedPort] = (), without_network: str = "") -> None:
        networks, ports = self._everything()
        networks = [each for each in networks if each.id != without_network]
        ports = [each for each in ports if each not in without_ports]
        for version in (4, 6):
            program = f"{_PROGRAMS[version]}-restore"
            text = self._text(version, networks, ports)
            if self._run(program, "--noflush", version=version, text=text):
                if version == 6 and not any(each.pool(6) for each in networks):
                    continue  # a machine without IPv6
                raise FailedPrecondition(f"{program} does not take the rules of networks")
            for table, chain, jump in self._jumps():
                words = ("-t", table)
                if self._run(_PROGRAMS[version], *words, "-C", chain, *jump, version=version):
                    self._run(_PROGRAMS[version], *words, "-I", chain, *jump, version=version)

    def _text(self, version: int, networks: Iterable[Definition], ports: Iterable[PublishedPort]) -> str:
        name = self._name
        pairs = [(each, pool) for each in networks for pool in [each.pool(version)] if pool is not None]
        lines = ["*nat", f":{name}-PUB - [0:0]", f":{name}-OUT - [0:0]"]
        # From loopback the kernel forwards nothing: there the proxy serves.
        lines.append(f"-A {name}-PUB -d {_LOOPBACK[version]} -j RETURN")
        lines += [
            line
            for port in sorted(ports, key=lambda each: not each.host_ip)
            for line in self._port(version, port)
        ]
        for network, pool in pairs:
            if not network.internal:
                out = f"-A {name}-OUT -s {pool.subnet}"
                lines.append(f"{out} ! -o {network.link} -j MASQUERADE")
                lines.append(f"{out} -o {network.link} -m conntrack --ctstate DNAT -j MASQUERADE")
        lines += ["COMMIT", "*filter", f":{name}-FWD - [0:0]"]
        lines += self._forward([network for network, _ in pairs])
        return "".join(f"{line}\n" for line in (*lines, "COMMIT"))

    def _port(self, version: int, port: PublishedPort) -> Iterator[str]:
        address = port.ip if version == 4 else port.ip6
        host = addresses.parse(port.host_ip) if port.host_ip else b""
        if not port.nat or not address or (host and len(host) != (4 if version == 4 else 16)):
            return
        to = f"-d {port.host_ip} " if any(host) else ""
        target = f"[{address}]" if version == 6 else address
        yield (
            f"-A {self._name}-PUB {to}-p {port.protocol} --dport {port.host_port} "
            f"-j DNAT --to-destination {target}:{port.container_port}"
        )

    def _forward(self, networks: Collection[Definition]) -> Iterator[str]:
        """As `rules.CHAINS` has it, with what leaves at the end."""
        rule = f"-A {self._name}-FWD"
        for network in networks:
            yield f"{rule} -o {network.link} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
            yield f"{rule} -i {network.link} -o {network.link} -j ACCEPT"
            if network.internal:
                yield f"{rule} -i {network.link} -j DROP"
        for network in networks:
            yield f"{rule} -o {network.link} -m conntrack --ctstate DNAT -j ACCEPT"
        for network in networks:
            yield f"{rule} -o {network.link} -j DROP"
        for network in networks:
            yield f"{rule} -i {network.link} -j ACCEPT"

    def _run(self, program: str, *words: str, version: int, text: str = "") -> int:
        """Exit status of a program, which waits for the lock of iptables."""
        folders = (*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin", "/sbin")
        found = (f"{folder}/{program}" for folder in folders if folder)
        path = next((each for each in found if os.access(each, os.X_OK)), "")
        if not path:
            if version == 6:
                return 1
            raise FailedPrecondition(
                f"{program} is missing, and nf_tables too: install it, or use --network none or host"
            )
        import subprocess

        ended = subprocess.run([path, "-w", *words], input=text.encode(), capture_output=True, check=False)
        return ended.returncode
