"""What CNI plugins answer to ADD, read from the forms of all versions of the specification."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton

from cloche.errors import InvalidArgument
from cloche.spec.fields import Fields
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_OLD = ("0.1.0", "0.2.0")


class Ip(Record):
    """An address, in CIDR notation. interface: the name of the one that has it, empty where not said."""

    address: str
    gateway: str = ""
    interface: str = ""


class Interface(Record):
    """An interface. sandbox: the network namespace it is in, as a path; empty for the host's."""

    name: str
    mac: str = ""
    sandbox: str = ""
    mtu: int = 0


class Route(Record):
    """A route. gateway: empty where the plugin left it to the address's."""

    destination: str
    gateway: str = ""


class Dns(Record):
    """What a network says of name servers."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Attachment(Record):
    """A container's part in one network. interface: its name inside. raw: the last plugin's document."""

    network: str
    interface: str
    ips: tuple[Ip, ...]
    interfaces: tuple[Interface, ...]
    routes: tuple[Route, ...]
    dns: Dns
    raw: Mapping[str, Any]


class Result(Record):
    """All that a container got, network by network in their order.

    unserved: capabilities that were asked for and that no plugin of any network has, such as
    portMappings where no port is published then.
    """

    attachments: tuple[Attachment, ...]
    unserved: tuple[str, ...] = ()

    @property
    def ips(self) -> tuple[Ip, ...]:
        """Every address; those of the first network come first."""
        return tuple(each for one in self.attachments for each in one.ips)

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """Every interface, also those on the host."""
        return tuple(each for one in self.attachments for each in one.interfaces)

    @property
    def routes(self) -> tuple[Route, ...]:
        """Every route."""
        return tuple(each for one in self.attachments for each in one.routes)

    @property
    def dns(self) -> Dns:
        """What the networks say of name servers, together."""
        said = [each.dns for each in self.attachments]
        return Dns(
            _together([each.nameservers for each in said]),
            next((each.domain for each in said if each.domain), ""),
            _together([each.search for each in said]),
            _together([each.options for each in said]),
        )

    @property
    def raw(self) -> Mapping[str, Any]:
        """The first network's document, as its last plugin printed it."""
        return self.attachments[0].raw if self.attachments else {}


def parse(value: Mapping[str, Any], network: str, interface: str, version: str) -> Attachment:
    """A result's document. version: what it is in where it does not say.

    Raises InvalidArgument for what is no address, and for a field of a wrong type.
    """
    fields = Fields.of(value, "result")
    said = fields.string("cniVersion") or version
    interfaces = () if said in _OLD else tuple(map(_interface, _objects(fields, "interfaces")))
    ips, routes = _old(fields) if said in _OLD else _new(fields, interfaces)
    dns = Fields.of(fields.nested("dns") or {}, "result.dns")
    return Attachment(
        network,
        interface,
        ips,
        interfaces,
        routes,
        Dns(dns.strings("nameservers"), dns.string("domain"), dns.strings("search"), dns.strings("options")),
        dict(value),
    )


def _new(fields: Fields, interfaces: Sequence[Interface]) -> tuple[tuple[Ip, ...], tuple[Route, ...]]:
    ips = []
    for each in _objects(fields, "ips"):
        number = each.integer("interface") if "interface" in each else -1
        if number >= len(interfaces):
            raise InvalidArgument(
                f"{each.name}.interface: there are {len(interfaces)} interfaces, not {number + 1}"
            )
        ips.append(_ip(each, "address", interfaces[number].name if number >= 0 else ""))
    return tuple(ips), tuple(map(_route, _objects(fields, "routes")))


def _old(fields: Fields) -> tuple[tuple[Ip, ...], tuple[Route, ...]]:
    """Before 0.3: one address of each family."""
    ips: list[Ip] = []
    routes: list[Route] = []
    for key in ("ip4", "ip6"):
        nested = fields.nested(key)
        if nested is not None:
            part = Fields.of(nested, f"result.{key}")
            ips.append(_ip(part, "ip", ""))
            routes += map(_route, _objects(part, "routes"))
    return tuple(ips), tuple(routes)


def _objects(fields: Fields, key: str) -> list[Fields]:
    return [
        Fields.of(each, f"{fields.name}.{key}[{number}]") for number, each in enumerate(fields.array(key))
    ]


def _ip(fields: Fields, key: str, interface: str) -> Ip:
    address, gateway = fields.string(key, required=True), fields.string("gateway")
    check_cidr(address, f"{fields.name}.{key}")
    if gateway and _bits(gateway) < 0:
        raise InvalidArgument(f"{fields.name}.gateway: {gateway[:60]!r} is no IP address")
    return Ip(address, gateway, interface)


def _route(fields: Fields) -> Route:
    destination, gateway = fields.string("dst", required=True), fields.string("gw")
    check_cidr(destination, f"{fields.name}.dst")
    if gateway and _bits(gateway) < 0:
        raise InvalidArgument(f"{fields.name}.gw: {gateway[:60]!r} is no IP address")
    return Route(destination, gateway)


def _interface(fields: Fields) -> Interface:
    name = fields.string("name", required=True)
    return Interface(name, fields.string("mac"), fields.string("sandbox"), fields.integer("mtu"))


def check_cidr(text: str, where: str) -> None:
    """Refuse what is not ADDRESS/LENGTH. Raises InvalidArgument."""
    address, _, length = text.partition("/")
    if not (length.isascii() and length.isdigit() and len(length) <= 3 and int(length) <= _bits(address)):
        raise InvalidArgument(
            f"{where}: {text[:60]!r} is no address with a prefix length, such as 10.1.0.2/16"
        )


def _bits(address: str) -> int:
    """How long an address of its family is; -1 where it is none."""
    for family, bits in ((AF_INET, 32), (AF_INET6, 128)):
        try:
            inet_pton(family, address)
        except (OSError, ValueError):
            continue
        return bits
    return -1


def _together(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each for one in lists for each in one))
