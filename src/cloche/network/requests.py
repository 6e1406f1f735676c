"""What a container asks of networks: to be in them, and to have ports published.

The grammar is docker's: `-p [[IP:][HOSTPORT]:]PORT[/PROTOCOL]` with ranges, and
`--network NAME` or `--network name=NAME,alias=A,ip=…`.
"""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.spec.record import Record

_PROTOCOLS = ("tcp", "udp")
_MODES = ("none", "host", "private", "default", "bridge", "")


class Port(Record):
    """One port of a container, published. host_ip: empty for every address.

    host_port: 0 leaves the choice to the kernel; host_port_end: the last of a range to choose from,
    0 where there is none.
    """

    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    host_port: int = 0
    host_port_end: int = 0


class Endpoint(Record):
    """A network to be in. Empty texts leave the choice to the network."""

    network: str
    aliases: tuple[str, ...] = ()
    ip: str = ""
    ip6: str = ""
    mac: str = ""


def ports(text: str) -> tuple[Port, ...]:
    """`-p`. Raises InvalidArgument."""
    host_ip, rest = _address(text)
    rest, _, protocol = rest.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise _wrong(text, f"protocol {protocol!r} is not known: tcp and udp are")
    host, separator, container = rest.rpartition(":")
    if host_ip and not separator:
        raise _wrong(text, "the container's port is missing")
    if ":" in host:
        raise _wrong(text, "an address of IPv6 is written in brackets, as [::1]:8080:80")
    first, last = _range(container, text)
    if first == 0:
        raise _wrong(text, "no container can listen on port 0")
    if not host:
        return tuple(Port(number, protocol, host_ip) for number in range(first, last + 1))
    from_port, to_port = _range(host, text)
    if from_port == 0 and to_port == 0:
        return tuple(Port(number, protocol, host_ip) for number in range(first, last + 1))
    if to_port - from_port == last - first:
        pairs = zip(range(first, last + 1), range(from_port, to_port + 1), strict=True)
        return tuple(Port(inside, protocol, host_ip, outside) for inside, outside in pairs)
    if first != last:
        raise _wrong(text, "the ranges are not of the same length")
    return (Port(first, protocol, host_ip, from_port, to_port),)


def exposed(text: str) -> tuple[tuple[int, str], ...]:
    """`--expose`, and what an image exposes: (port, protocol) each. Raises InvalidArgument."""
    numbers, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise InvalidArgument(f"invalid port {text[:60]!r}: tcp and udp are known")
    first, last = _range(numbers, text)
    return tuple((number, protocol) for number in range(first, last + 1))


def endpoint(text: str) -> Endpoint:
    """`--network`. Raises InvalidArgument."""
    if "=" not in text or text.startswith("container:"):
        return Endpoint(text)
    fields: dict[str, str] = {}
    aliases = []
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or (key in fields and key != "alias"):
            raise InvalidArgument(
                f"invalid network {text[:100]!r}: {part[:40]!r} is no NAME=VALUE, or there twice"
            )
        if key == "alias":
            aliases.append(value)
        elif key in ("name", "ip", "ip6", "mac-address"):
            fields[key] = value
        else:
            raise InvalidArgument(f"invalid network {text[:100]!r}: unknown field {key[:40]!r}")
    if not fields.get("name"):
        raise InvalidArgument(f"invalid network {text[:100]!r}: the name is missing")
    return Endpoint(
        fields["name"],
        tuple(aliases),
        fields.get("ip", ""),
        fields.get("ip6", ""),
        fields.get("mac-address", ""),
    )


def is_name(mode: str) -> bool:
    """Whether a network mode is the name of a network that containers are brought into."""
    return mode in ("bridge", "default") or (mode not in _MODES and ":" not in mode)


def check(endpoints: tuple[Endpoint, ...]) -> None:
    """Refuse addresses that are none, and a network that is there twice. Raises InvalidArgument."""
    from cloche.network import addresses

    seen = set()
    for each in endpoints:
        if each.network in seen:
            raise InvalidArgument(f"network {each.network!r} is given twice")
        seen.add(each.network)
        for value, version, flag in ((each.ip, 4, "ip"), (each.ip6, 6, "ip6")):
            if value and len(addresses.check(value, flag)) != (4 if version == 4 else 16):
                raise InvalidArgument(f"invalid {flag}: {value} is no address of IPv{version}")
        if each.mac:
            addresses.parse_mac(each.mac)


def _address(text: str) -> tuple[str, str]:
    """The host's address and the rest."""
    from cloche.network import addresses

    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]:")
        if not bracket or len(_checked(address, text)) != 16:
            raise _wrong(text, "brackets are for an address of IPv6, as [::1]:8080:80")
        return addresses.show(_checked(address, text)), rest
    parts = text.split(":")
    if len(parts) != 3:
        return "", text
    if parts[0]:
        _checked(parts[0], text)
    return parts[0], f"{parts[1]}:{parts[2]}"


def _checked(address: str, text: str) -> bytes:
    from cloche.network import addresses

    try:
        return addresses.parse(address)
    except ValueError as error:
        raise _wrong(text, str(error)) from None


def _range(text: str, whole: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    numbers = [first, last] if dash else [first, first]
    if not all(
        each.isascii() and each.isdigit() and len(each) <= 5 and int(each) < 65536 for each in numbers
    ):
        raise _wrong(whole, f"{text[:40]!r} is no port (0 to 65535) and no range of them")
    begin, end = int(numbers[0]), int(numbers[1])
    if begin > end:
        raise _wrong(whole, f"the range {text} ends before it begins")
    return begin, end


def _wrong(text: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"invalid publish {text[:100]!r}: {why}")
