"""`network create|ls|inspect|rm|connect|disconnect|prune|explain`, in docker's words."""

from __future__ import annotations

from cloche.cli import human, table
from cloche.cli.arguments import Command
from cloche.cli.inspection import show as show_documents
from cloche.cli.lifecycle import confirmed, each
from cloche.cli.output import line, write
from cloche.engine import grammar
from cloche.errors import InvalidArgument, Unimplemented
from cloche.network import requests
from cloche.network.definitions import Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cloche.cli.arguments import Parsed
    from cloche.cli.session import Session
    from cloche.engine.networks import Network

_HEADERS = {
    "CreatedAt": "CREATED AT",
    "Driver": "DRIVER",
    "ID": "NETWORK ID",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Label": "LABEL",
    "Labels": "LABELS",
    "Name": "NAME",
    "Scope": "SCOPE",
}
_DEFAULT = ("ID", "Name", "Driver", "Scope")
_SHORT_ID = 12


def _create(session: Session, parsed: Parsed) -> int:
    driver = parsed.text("driver") or "bridge"
    if driver != "bridge":
        raise Unimplemented(
            f"network driver {driver!r} is not known: bridge is; others come with CNI plugins"
        )
    wish = Wish(
        parsed.arguments[0],
        tuple(parsed.all("subnet")),
        tuple(parsed.all("gateway")),
        tuple(parsed.all("ip-range")),
        grammar.pairs(parsed.all("aux-address"), "aux-address"),
        parsed.on("internal"),
        parsed.on("ipv4", default=True),
        parsed.on("ipv6"),
        grammar.pairs(parsed.all("label"), "label"),
        grammar.pairs(parsed.all("opt"), "opt"),
        parsed.on("attachable"),
    )
    line(session.engine.networks.create(wish).id)
    return 0


def _list(session: Session, parsed: Parsed) -> int:
    tests = [_test(text) for text in parsed.all("filter")]
    found = [one for one in session.engine.networks.list() if all(test(one) for test in tests)]
    form, whole = parsed.text("format"), parsed.on("no-trunc")
    if parsed.on("quiet") and not form:
        write("".join(f"{one.id if whole else one.id[:_SHORT_ID]}\n" for one in found))
        return 0
    table.show([_row(one, whole=whole) for one in found], _HEADERS, _DEFAULT, form=form)
    return 0


def _row(network: Network, *, whole: bool) -> dict[str, Any]:
    labels = network.labels
    subnets = [pool["Subnet"] for pool in network.pools]
    return {
        "CreatedAt": _moment(network.created),
        "Driver": network.driver,
        "ID": network.id if whole else network.id[:_SHORT_ID],
        "IPv4": str(any("." in subnet for subnet in subnets)).lower(),
        "IPv6": str(any(":" in subnet for subnet in subnets)).lower(),
        "Internal": str(network.internal).lower(),
        "Label": lambda name: labels.get(name, ""),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "Name": network.name,
        "Scope": "local",
    }


def _moment(created: str) -> str:
    if not created:
        return "N/A"
    from cloche.shim import timestamps

    return human.local_time(timestamps.parse(created) / 1_000_000_000)


def _test(text: str) -> Callable[[Network], bool]:
    name, equals, value = text.partition("=")
    tests: dict[str, Callable[[Network], bool]] = {
        "driver": lambda one: one.driver == value,
        "id": lambda one: one.id.startswith(value),
        "label": lambda one: _labelled(one, value),
        "name": lambda one: value in one.name,
        "scope": lambda one: value == "local",
        "type": lambda one: one.builtin == (value == "builtin"),
    }
    if not equals or name not in tests or (name == "type" and value not in ("builtin", "custom")):
        raise InvalidArgument(f"invalid filter {text[:100]!r}: known are {', '.join(tests)}=…")
    return tests[name]


def _labelled(network: Network, value: str) -> bool:
    key, equals, wanted = value.partition("=")
    found = network.labels.get(key)
    return found is not None and (not equals or found == wanted)


def _remove(session: Session, parsed: Parsed) -> int:
    return each(parsed.arguments, session.engine.networks.remove)


def _connect(session: Session, parsed: Parsed) -> int:
    network, container = parsed.arguments
    endpoint = requests.Endpoint(
        network,
        tuple(parsed.all("alias")),
        parsed.text("ip") or "",
        parsed.text("ip6") or "",
        parsed.text("mac-address") or "",
    )
    requests.check((endpoint,))
    engine = session.engine
    engine.networks.connect(network, engine.containers.get(container), endpoint)
    return 0


def _disconnect(session: Session, parsed: Parsed) -> int:
    network, container = parsed.arguments
    engine = session.engine
    engine.networks.disconnect(network, engine.containers.get(container), force=parsed.on("force"))
    return 0


def _prune(session: Session, parsed: Parsed) -> int:
    if not confirmed(parsed, "all custom networks not used by at least one container"):
        return 0
    removed = session.engine.networks.prune()
    if removed:
        write("Deleted Networks:\n" + "".join(f"{name}\n" for name in removed) + "\n")
    return 0


def _explain(session: Session, parsed: Parsed) -> int:
    networks = session.engine.networks
    if parsed.arguments:
        write(networks.explain_container(session.engine.containers.get(parsed.arguments[0])))
        return 0
    ports = [port for text in parsed.all("publish") for port in requests.ports(text)]
    mode = parsed.text("publish-mode") or "nat"
    if mode not in ("nat", "proxy"):
        raise InvalidArgument(f'invalid publish-mode {mode!r}: must be "nat" or "proxy"')
    write(networks.explain(parsed.text("network") or "bridge", ports, proxied=mode == "proxy"))
    return 0


def _inspect(session: Session, parsed: Parsed) -> int:
    return show_documents(session, parsed, lambda session, name: session.engine.networks.inspect(name))


def _port(session: Session, parsed: Parsed) -> int:
    from cloche.engine import ports

    name, *wanted = parsed.arguments
    container = session.engine.containers.get(name)
    asked = requests.exposed(wanted[0])[0] if wanted else None
    found = 0
    for port, bindings in ports.bindings(container).items():
        number, _, protocol = port.partition("/")
        if asked is not None and asked != (int(number), protocol):
            continue
        for binding in bindings or ():
            address = f"[{binding['HostIp']}]" if ":" in binding["HostIp"] else binding["HostIp"]
            line(
                f"{address}:{binding['HostPort']}" if asked else f"{port} -> {address}:{binding['HostPort']}"
            )
            found += 1
    if asked is not None and not found:
        raise InvalidArgument(f"no public port '{wanted[0]}' published for {name}")
    return 0


def _options(
    *rows: tuple[str, str, str, str],
) -> tuple[tuple[str, tuple[tuple[str, str, str, str], ...]], ...]:
    return (("Options", rows),)


_FORMAT = ("format", "f", "string", 'Print "json", or fill in a Go template')
_TABLE_FORMAT = ("format", "", "string", '"table", "table TEMPLATE", "json" or a Go template')

CREATE = Command(
    "[OPTIONS] NETWORK",
    _create,
    groups=_options(
        ("attachable", "", "bool", "Kept and shown, for tools that set it"),
        ("aux-address", "", "map", "Address that no container gets (NAME=ADDRESS)"),
        ("driver", "d", "string", 'Driver: "bridge"'),
        ("gateway", "", "list", "Address of the bridge in a subnet"),
        ("internal", "", "bool", "Let nothing out of it and nothing in"),
        ("ip-range", "", "list", "Part of a subnet that containers get addresses from"),
        ("ipv4", "", "bool", "Give it IPv4 (default true)"),
        ("ipv6", "", "bool", "Give it IPv6"),
        ("label", "", "map", "Set a label (KEY=VALUE)"),
        ("opt", "o", "map", "Option: publish=nat|proxy, mtu=BYTES or bridge=LINK"),
        ("subnet", "", "list", "Subnet (ADDRESS/LENGTH), one of IPv4 and one of IPv6 at most"),
    ),
    minimum=1,
    maximum=1,
)
LIST = Command(
    "[OPTIONS]",
    _list,
    groups=_options(
        ("filter", "f", "filter", "Only with this driver, id, label, name, scope or type=…"),
        _TABLE_FORMAT,
        ("no-trunc", "", "bool", "Shorten nothing"),
        ("quiet", "q", "bool", "Print only IDs"),
    ),
)
INSPECT = Command(
    "[OPTIONS] NETWORK [NETWORK...]", _inspect, groups=_options(_FORMAT), minimum=1, maximum=None
)
REMOVE = Command(
    "NETWORK [NETWORK...]",
    _remove,
    groups=_options(("force", "f", "bool", "Taken for docker's sake")),
    minimum=1,
    maximum=None,
)
CONNECT = Command(
    "[OPTIONS] NETWORK CONTAINER",
    _connect,
    groups=_options(
        ("alias", "", "list", "Another name that the others know it by"),
        ("ip", "", "string", "Its address"),
        ("ip6", "", "string", "Its address of IPv6"),
        ("mac-address", "", "string", "Its hardware address"),
    ),
    minimum=2,
    maximum=2,
)
DISCONNECT = Command(
    "[OPTIONS] NETWORK CONTAINER",
    _disconnect,
    groups=_options(("force", "f", "bool", "Succeed where it is not in it")),
    minimum=2,
    maximum=2,
)
PRUNE = Command(
    "[OPTIONS]", _prune, groups=_options(("force", "f", "bool", "Do not ask whether it is meant"))
)
EXPLAIN = Command(
    "[OPTIONS] [CONTAINER]",
    _explain,
    groups=_options(
        ("network", "", "string", 'Network of the container to be (default "bridge")'),
        ("publish", "p", "list", "Port that would be published, as `run` takes it"),
        ("publish-mode", "", "string", 'As `run` takes it: "nat" (default) or "proxy"'),
    ),
    maximum=1,
    description=(
        "Show the rules of a network and its published ports, in the words of nft, and\n"
        "change nothing: those that serve a container now, or those that one with these\n"
        "ports would get. Chains of others that would drop its packets are named."
    ),
)
PORT = Command("CONTAINER [PORT[/PROTOCOL]]", _port, minimum=1, maximum=2)
