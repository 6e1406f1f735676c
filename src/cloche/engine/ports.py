"""Published ports of a container, as Docker's API and `ps` show them."""

from __future__ import annotations

from cloche.engine import networking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.engine.container import Container
    from cloche.network.attachments import Attached, PublishedPort


def bindings(container: Container) -> dict[str, list[dict[str, str]] | None]:
    """`80/tcp` -> where on the host it is published now; None for one that is only exposed."""
    attached = (
        networking.attached(container.context, container.id)
        if networking.endpoints(container.options)
        else None
    )
    return of(container, attached)


def of(container: Container, attached: Attached | None) -> dict[str, list[dict[str, str]] | None]:
    """The same, of a record that was read already."""
    found: dict[str, list[dict[str, str]]] = {}
    for port in attached.ports if attached is not None else ():
        listed = found.setdefault(f"{port.container_port}/{port.protocol}", [])
        listed += [{"HostIp": address, "HostPort": str(port.host_port)} for address in _addresses(port)]
    exposed = (*container.kept.image_config.exposed_ports, *container.options.exposed)
    if networking.endpoints(container.options):
        names = dict.fromkeys(text if "/" in text else f"{text}/tcp" for text in exposed)
        return {**dict.fromkeys(names), **found}
    return {**found}


def _addresses(port: PublishedPort) -> tuple[str, ...]:
    return (port.host_ip,) if port.host_ip else ("0.0.0.0", "::")  # noqa: S104 - as it is shown


def text(container: Container) -> str:
    """As `ps` has it: `0.0.0.0:8080->80/tcp, [::]:8080->80/tcp`."""
    parts = []
    for port, listed in bindings(container).items():
        if listed is None:
            parts.append(port)
        for binding in listed or ():
            address = f"[{binding['HostIp']}]" if ":" in binding["HostIp"] else binding["HostIp"]
            parts.append(f"{address}:{binding['HostPort']}->{port}")
    return ", ".join(parts)


def wanted(container: Container) -> dict[str, list[dict[str, str]]]:
    """HostConfig.PortBindings: what was asked for."""
    found: dict[str, list[dict[str, str]]] = {}
    for port in container.options.ports:
        number = str(port.host_port) if port.host_port else ""
        number += f"-{port.host_port_end}" if port.host_port_end else ""
        binding = {"HostIp": port.host_ip, "HostPort": number}
        found.setdefault(f"{port.container_port}/{port.protocol}", []).append(binding)
    return found


def settings(container: Container) -> dict[str, Any]:
    """NetworkSettings."""
    endpoints = networking.endpoints(container.options)
    attached = networking.attached(container.context, container.id) if endpoints else None
    networks: dict[str, Any] = {}
    for endpoint in endpoints:
        name = "bridge" if endpoint.network == "default" else endpoint.network
        member = attached.member(name) if attached is not None else None
        networks[name] = {
            "IPAMConfig": {"IPv4Address": endpoint.ip} if endpoint.ip else None,
            "Aliases": list(endpoint.aliases) or None,
            "NetworkID": member.network_id if member else "",
            "EndpointID": "",
            "Gateway": member.gateway if member else "",
            "IPAddress": member.ip if member else "",
            "IPPrefixLen": member.prefix_length if member else 0,
            "IPv6Gateway": member.gateway6 if member else "",
            "GlobalIPv6Address": member.ip6 if member else "",
            "GlobalIPv6PrefixLen": member.prefix_length6 if member else 0,
            "MacAddress": member.mac if member else endpoint.mac,
            "DNSNames": [each for each in (container.name, *endpoint.aliases, container.id[:12]) if each],
        }
    if not endpoints:
        mode = "none" if container.options.network == "private" else container.options.network
        networks[mode] = {"NetworkID": "", "IPAddress": "", "Gateway": "", "MacAddress": ""}
    first = next(iter(networks.values())) if "bridge" not in networks else networks["bridge"]
    top = {key: first.get(key, "") for key in ("IPAddress", "Gateway", "MacAddress")} if endpoints else {}
    if list(networks) != ["bridge"]:
        top = dict.fromkeys(top, "")
    return {
        "SandboxID": "",
        "SandboxKey": f"/proc/{attached.pid}/ns/net" if attached else "",
        "Ports": of(container, attached),
        "Networks": networks,
        **top,
    }
