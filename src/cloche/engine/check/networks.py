"""What is left of networks: records of containers that have ended, addresses and rules of nobody."""

from __future__ import annotations

import os

from cloche.engine import networking
from cloche.engine.check.finding import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cloche.engine.context import Context
    from cloche.kernel.nftables import Set
    from cloche.network.networks import Networks


def faults(context: Context) -> Iterator[Fault]:
    """All of it. Nothing is asked of the kernel where this state directory never had a network."""
    if not os.path.isdir(f"{context.state}/.network"):
        return
    networks = networking.networks(context)
    for each in networks.attachments.dead():
        yield Fault(
            "network",
            f"container {each.name or each.id[:12]}",
            "it has ended, and its ports and addresses are still taken",
            "give them back",
            _sweeping(networks),
        )
    owners = {each.id for each in networks.attachments.all()}
    for network_id, address, owner in networks.attachments.leases():
        if owner not in owners:
            yield Fault(
                "network",
                f"address {address}",
                "is taken, and no container has it",
                "give it back",
                _freeing(networks, network_id, address),
            )
    yield from _rules(networks)


def _rules(networks: Networks) -> Iterator[Fault]:
    from cloche.network.firewall import elements

    wanted = {
        (each.name, key)
        for attached in networks.attachments.all()
        for port in attached.ports
        for each, key, _ in elements(port)
    }
    try:
        found = list(networks.firewall.published())
    except OSError:
        return  # no nf_tables here, or not ours to look at
    for each, key, _ in found:
        if (each.name, key) not in wanted:
            port = int.from_bytes(key[-4:-2], "big")
            yield Fault(
                "network",
                f"rule of port {port}",
                "it leads to a container that is not there",
                "remove it",
                _unpublishing(networks, each, key),
            )


def _sweeping(networks: Networks) -> Callable[[], bool]:
    return lambda: bool(networks.sweep())


def _freeing(networks: Networks, network_id: str, address: str) -> Callable[[], bool]:
    def free() -> bool:
        with networks.alone():
            owners = {each.id for each in networks.attachments.all()}
            if (network_id, address) in {
                (network, taken) for network, taken, owner in networks.attachments.leases() if owner in owners
            }:
                return False
            networks.attachments.free_address(network_id, address)
            return True

    return free


def _unpublishing(networks: Networks, each: Set, key: bytes) -> Callable[[], bool]:
    def remove() -> bool:
        with networks.alone():
            networks.firewall.remove_element(each, key)
            return True

    return remove
