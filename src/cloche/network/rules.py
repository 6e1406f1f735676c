"""The rules that networks and published ports need, as one table of nf_tables that is ours alone.

What differs between machines is not in the rules but in the sets and maps that they look into: a
network is an element of a few sets, a published port an element of a map. So a start adds
elements, a stop takes them away (`network.rule_sets`), and the rules themselves are written once.

Packets that are meant for a published port change their destination (dnat) and are forwarded: the
host's rules for its own services (hook input) never see them. Who wants them obeyed publishes
through a proxy instead (`network.proxy`), which needs no rule at all.
"""

from __future__ import annotations

from cloche.kernel.nft_expressions import (
    IPV4,
    IPV6,
    Expression,
    Family,
    Forwarded,
    InSet,
    Known,
    Masquerade,
    Network4,
    Published,
    To,
    ToThisMachine,
    Verdict,
)
from cloche.kernel.nftables import FORWARD, OUTPUT, POSTROUTING, PREROUTING, Batch, Chain
from cloche.network.rule_sets import BRIDGES, INTERNAL, NETWORKS, PORTS, PORTS_AT, SAME, SETS

_DSTNAT, _FILTER, _SRCNAT = -100, 0, 100
_ACCEPT, _DROP, _RETURN = Verdict("accept"), Verdict("drop"), Verdict("return")
_TO_BRIDGE, _FROM_BRIDGE = InSet(("oifname",), BRIDGES.name), InSet(("iifname",), BRIDGES.name)
_ELSEWHERE = InSet(("oifname",), BRIDGES.name, inverted=True)
_TO_PUBLISHED = (ToThisMachine(), Verdict("jump", "published"))


def _published(family: int, number: int, prefix: str) -> tuple[tuple[Expression, ...], ...]:
    at = (f"{prefix} daddr", "l4proto", "th dport")
    return (
        (Family(family), Forwarded(family, at, PORTS_AT[number].name)),
        (Family(family), Forwarded(family, at[1:], PORTS[number].name)),
    )


def _hidden(family: int, number: int, prefix: str) -> tuple[tuple[Expression, ...], ...]:
    ours = (Family(family), InSet((f"{prefix} saddr",), NETWORKS[number].name))
    return (
        # Nobody outside knows the way to these addresses.
        (*ours, _ELSEWHERE, Masquerade()),
        # From a container to a published port of its own network: the answer has to come back through us.
        (*ours, _TO_BRIDGE, Published(), Masquerade()),
    )


CHAINS = (
    Chain(
        "published",
        (
            # From loopback the kernel forwards nothing: there the proxy serves.
            (Family(IPV4), Network4(b"\x7f\0\0\0", 8), _RETURN),
            (Family(IPV6), To(bytes(15) + b"\1"), _RETURN),
            *_published(IPV4, 4, "ip"),
            *_published(IPV6, 6, "ip6"),
        ),
    ),
    Chain("prerouting", (_TO_PUBLISHED,), "nat", PREROUTING, _DSTNAT),
    Chain("output", (_TO_PUBLISHED,), "nat", OUTPUT, _DSTNAT),
    Chain(
        "forward",
        (
            (_TO_BRIDGE, Known(), _ACCEPT),
            # Within a bridge; seen here only where br_netfilter is loaded.
            (InSet(("iifname", "oifname"), SAME.name), _ACCEPT),
            (InSet(("iifname",), INTERNAL.name), _DROP),
            (_TO_BRIDGE, Published(), _ACCEPT),
            # Other networks of containers, and neighbours that have found a route to the subnet.
            (_TO_BRIDGE, _DROP),
        ),
        "filter",
        FORWARD,
        _FILTER,
    ),
    Chain(
        "postrouting",
        (*_hidden(IPV4, 4, "ip"), *_hidden(IPV6, 6, "ip6")),
        "nat",
        POSTROUTING,
        _SRCNAT,
    ),
)


def add_table(batch: Batch) -> None:
    """The whole table, empty of networks and ports."""
    batch.add_table()
    for number, each in enumerate(SETS, 1):
        batch.add_set(each, number)
    for chain in CHAINS:
        batch.add_chain(chain)
    for chain in CHAINS:
        batch.add_rules(chain)


def describe(table: str) -> str:
    """The table as nft writes it."""
    parts = [each.describe() for each in SETS] + [each.describe() for each in CHAINS]
    inner = "\n".join(parts)
    return f"table inet {table} {{\n" + "".join(f"    {line}\n" for line in inner.splitlines()) + "}"
