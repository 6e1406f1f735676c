"""What networks and published ports come to, in the words of nft, and who else has a say about it."""

from __future__ import annotations

from cloche.network import addresses, firewall
from cloche.network.attachments import PublishedPort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cloche.network.attachments import Attached
    from cloche.network.definitions import Definition
    from cloche.network.networks import Networks
    from cloche.network.requests import Port


def of_ports(networks: Networks, definition: Definition, ports: Sequence[Port], *, proxied: bool) -> str:
    """The rules of a network, and of ports of its next container. proxied: without rules for these."""
    nat = not proxied and definition.publish != "proxy" and not definition.internal
    found = {}
    for version in (4, 6):
        pool = definition.pool(version)
        if pool is not None:
            found[version] = networks.attachments.lease(definition.id, pool, "")
    planned = [
        PublishedPort(
            port.protocol,
            port.host_ip,
            port.host_port,
            port.container_port,
            nat and not _loopback(port.host_ip),
            found.get(4, ""),
            found.get(6, ""),
        )
        for port in ports
    ]
    return _text(networks, [definition], planned)


def of_container(networks: Networks, attached: Attached) -> str:
    """The rules that serve a container now."""
    ids = {member.network_id for member in attached.members}
    definitions = [each for each in networks.definitions.list() if each.id in ids]
    return _text(networks, definitions, attached.ports)


def _text(networks: Networks, definitions: Sequence[Definition], ports: Iterable[PublishedPort]) -> str:
    ports = list(ports)
    lines = [_described(each) for each in definitions]
    for port in ports:
        lines.append(f"# {_listening(port)}")
    for table in _refusals():
        lines.append(
            f"# chain {table} drops by default what is forwarded: what leaves a container, and what comes "
            "from elsewhere to a published port, needs a rule of its own there"
        )
    return "".join(f"{line}\n" for line in lines) + networks.firewall.explain(definitions, ports)


def _described(definition: Definition) -> str:
    subnets = ", ".join(f"{pool.subnet} (gateway {pool.gateway})" for pool in definition.pools)
    inside = ", internal" if definition.internal else ""
    return f"# network {definition.name}: bridge {definition.link}, {subnets}{inside}"


def _listening(port: PublishedPort) -> str:
    """Which packets go which way."""
    number = port.host_port or "of the kernel's choice"
    what = f"{port.protocol} port {number}"
    address = port.ip or port.ip6
    leads_to = f"[{address}]" if ":" in address else address
    target = f"{leads_to}:{port.container_port}"
    where = f"of {port.host_ip}" if port.host_ip else "of every address"
    if not port.nat:
        return f"{what} {where}: a proxy connects to {target}; the rules for the host's own services apply"
    ways = ["of loopback: a proxy listens"]
    if not port.ip6 and (not port.host_ip or ":" in port.host_ip):
        ways.append("of IPv6: a proxy listens")
    return (
        f"{what} {where}: forwarded to {target} past the rules for the host's own services; {', '.join(ways)}"
    )


def _refusals() -> list[str]:
    try:
        return firewall.refusals()
    except OSError:
        return []


def _loopback(text: str) -> bool:
    return bool(text) and (text.startswith("127.") or addresses.parse(text) == bytes(15) + b"\1")
