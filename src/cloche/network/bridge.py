"""Bridges and the containers on them, made over rtnetlink.

    host                                            container
    cloche0 (10.180.0.1/16) ── vethN ═════════════ eth0 (10.180.0.2/16, default route 10.180.0.1)

With the container's network namespace the kernel removes eth0, its other end and every route: nothing
of that has to be undone, by whomever the container was ended.
"""

from __future__ import annotations

import os

from cloche.errors import FailedPrecondition, PermissionDenied
from cloche.kernel import links, netns
from cloche.kernel.rtnetlink import RouteSocket
from cloche.network import addresses
from cloche.network.addresses import Subnet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.network.attachments import Member
    from cloche.network.definitions import Definition

_ENODEV, _EEXIST, _EPERM, _EOPNOTSUPP = 19, 17, 1, 95
_FORWARDING = {4: "/proc/sys/net/ipv4/ip_forward", 6: "/proc/sys/net/ipv6/conf/all/forwarding"}


def ensure(route: RouteSocket, definition: Definition) -> int:
    """The index of a network's bridge, which is made and given its addresses if need be.

    Raises FailedPrecondition, saying what the machine lacks, and PermissionDenied.
    """
    try:
        return route.link(definition.link).index
    except OSError as error:
        if error.errno != _ENODEV:
            raise
    _refuse_overlaps(route, definition)
    try:
        index = _make(route, definition)
    except OSError as error:
        if error.errno == _EPERM:
            raise PermissionDenied(
                f"network {definition.name}: making a bridge needs CAP_NET_ADMIN"
            ) from None
        if error.errno == _EOPNOTSUPP:
            raise FailedPrecondition(
                f"network {definition.name}: the kernel has no bridges: load its module (modprobe bridge), "
                "or use --network none or host"
            ) from None
        raise
    for version in {subnet.version for subnet in definition.subnets()}:
        if not definition.internal:
            _forward(version)
    return index


def _forward(version: int) -> None:
    """Have the machine forward packets. Where it learns its own routes of IPv6 it goes on to do so."""
    if version == 6:
        conf = "/proc/sys/net/ipv6/conf"
        for name in os.listdir(conf):
            try:
                with open(f"{conf}/{name}/accept_ra", "r+", encoding="ascii") as file:
                    if file.read().strip() == "1":
                        file.write("2")
            except OSError:
                continue  # a device that has just gone
    _write(_FORWARDING[version], "1")


def _make(route: RouteSocket, definition: Definition) -> int:
    first = addresses.parse(definition.pools[0].gateway)
    route.tell([links.new_bridge(definition.link, addresses.mac_of(first))])
    index = route.link(definition.link).index
    try:
        route.tell(
            [
                links.new_address(
                    index, addresses.parse(pool.gateway), Subnet.parse(pool.subnet).prefix_length
                )
                for pool in definition.pools
            ]
        )
    except BaseException:
        # A bridge that is there is taken to be whole.
        route.tell([links.delete_link(index)])
        raise
    return index


def _refuse_overlaps(route: RouteSocket, definition: Definition) -> None:
    """Since the network was defined the machine may have got a route to its subnet."""
    for other in used_subnets(route):
        for subnet in definition.subnets():
            if subnet.overlaps(other):
                raise FailedPrecondition(
                    f"network {definition.name}: its {subnet} overlaps the machine's route to {other}; "
                    f"`cloche network rm {definition.name}` removes it, and the next one gets another"
                )


def used_subnets(route: RouteSocket) -> list[Subnet]:
    """All that the machine has a route to, but for the default."""
    return [
        Subnet(each.destination, each.prefix_length)
        for each in links.routes(route)
        if each.destination and each.prefix_length
    ]


def remove(route: RouteSocket, link: str) -> bool:
    """Remove a bridge; False where there is none."""
    try:
        route.tell([links.delete_link(route.link(link).index)])
    except OSError as error:
        if error.errno != _ENODEV:
            raise
        return False
    return True


class Namespace:
    """The network namespace of a container, by its process: a context manager."""

    def __init__(self, pid: int) -> None:
        """Raises OSError where there is no such process."""
        self.descriptor = netns.of_process(pid)
        try:
            self._route = netns.within(self.descriptor, RouteSocket)
        except BaseException:
            os.close(self.descriptor)
            raise

    def __enter__(self) -> Namespace:
        return self

    def __exit__(self, *_: object) -> None:
        self._route.close()
        os.close(self.descriptor)

    def join(
        self,
        route: RouteSocket,
        bridge: int,
        member: Member,
        *,
        mtu: int,
        leads_out: bool,
        reflected: bool = False,
    ) -> None:
        """Bring the container to a bridge. route: a socket of the host.

        leads_out: whether its default routes go through this network. reflected: whether it has ports
        that are published: where br_netfilter is loaded, what it sends to one of these comes back on
        the bridge. Raises FailedPrecondition where the name of the interface is taken.
        """
        mac = addresses.parse_mac(member.mac)
        name = f"ve-{os.urandom(6).hex()}"
        veth = links.new_veth(
            name, member.interface, bridge=bridge, namespace=self.descriptor, mac=mac, mtu=mtu
        )
        try:
            route.tell([veth, links.reflect(name)] if reflected else [veth])
        except OSError as error:
            if error.errno != _EEXIST:
                raise
            raise FailedPrecondition(f"the container has an interface {member.interface} already") from None
        index = self._route.link(member.interface).index
        requests = [links.set_up(index)]
        for address, length in ((member.ip, member.prefix_length), (member.ip6, member.prefix_length6)):
            if address:
                requests.append(links.new_address(index, addresses.parse(address), length))
        if leads_out:
            requests += self._defaults(index, member)
        self._route.tell(requests)

    @staticmethod
    def _defaults(index: int, member: Member) -> Sequence[tuple[int, int, bytes]]:
        gateways = (each for each in (member.gateway, member.gateway6) if each)
        return [links.default_route(index, addresses.parse(each)) for each in gateways]

    def leave(self, member: Member) -> None:
        """Take the container out of a network; one that it is not in does not matter."""
        try:
            self._route.tell([links.delete_link(self._route.link(member.interface).index)])
        except OSError as error:
            if error.errno != _ENODEV:
                raise

    def leads_out(self, member: Member) -> None:
        """From now on the default routes go through this network; those that are there stay."""
        index = self._route.link(member.interface).index
        for request in self._defaults(index, member):
            try:
                self._route.tell([request])
            except OSError as error:
                if error.errno != _EEXIST:
                    raise


def _write(path: str, value: str) -> None:
    """Change a setting of the kernel, unless it is so."""
    try:
        with open(path, encoding="ascii") as file:
            if file.read().strip() == value:
                return
        with open(path, "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        raise FailedPrecondition(
            f"{path}: cannot be set to {value}, without which nothing is forwarded: {error.strerror}"
        ) from None
