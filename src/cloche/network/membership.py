"""Containers that run come into networks, and leave them.

attach   what was left for this id, or by the dead, is undone
         addresses and ports are chosen -> record -> links -> rules -> companion

`Networks.detach` is its opposite. `connect` and `disconnect` do the same for one network while the
container goes on.
"""

from __future__ import annotations

import os

from cloche.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from cloche.kernel import pidfd
from cloche.kernel.rtnetlink import RouteSocket
from cloche.network import addresses, bridge
from cloche.network.addresses import Subnet
from cloche.network.attachments import Attached, Member
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.network.companion import Duty
    from cloche.network.definitions import Definition
    from cloche.network.networks import Networks
    from cloche.network.publishing import Publication
    from cloche.network.requests import Endpoint, Port


class Request(Record):
    """A container that is about to run, and what it asks for.

    pid: its first process, which exists and waits. servers: name servers for what is no container's
    name. names: whether 127.0.0.11 answers in it, as it must in networks that were made. publish:
    "nat" or "proxy" where it is not the network's to say. created: the time, for a first network.
    """

    id: str
    pid: int
    name: str
    hostname: str
    endpoints: Sequence[Endpoint]
    ports: Sequence[Port] = ()
    servers: Sequence[str] = ()
    names: bool = False
    publish: str = ""
    created: str = ""


def attach(networks: Networks, request: Request) -> Attached:
    """Bring a container into its networks and publish its ports; its record.

    Raises NotFound for a network, ResourceExhausted, AlreadyExists for an address or a port that
    is taken, FailedPrecondition for what the machine cannot do. Nothing is left of it then.
    """
    wanted = [(networks.get(each.network, created=request.created), each) for each in request.endpoints]
    with networks.alone():
        networks.sweep_alone()
        before = networks.attachments.get(request.id)
        if before is not None:
            networks.undo(before)
        members = tuple(
            _member(networks, request.id, definition, endpoint, number)
            for number, (definition, endpoint) in enumerate(wanted)
        )
        start_time = pidfd.start_time(request.pid)
        attached = Attached(request.id, request.pid, start_time, request.name, request.hostname, members)
        return _attach(networks, attached, [definition for definition, _ in wanted], request)


def _attach(
    networks: Networks, attached: Attached, definitions: list[Definition], request: Request
) -> Attached:
    publication = _publication(attached, definitions, request)
    try:
        if publication is not None:
            attached = attached.replace(ports=tuple(publication.ports))
        networks.attachments.write(attached)
        try:
            _make(networks, attached, definitions)
            duties = publication.duties if publication is not None else []
            if duties or request.names:
                attached = _accompany(networks, attached, duties, request.servers, names=request.names)
        except BaseException:
            networks.undo(attached)
            raise
    finally:
        if publication is not None:
            publication.close()
    return attached


def _publication(attached: Attached, definitions: list[Definition], request: Request) -> Publication | None:
    """The ports, held; those of a container that is only in internal networks are not published."""
    pairs = zip(definitions, attached.members, strict=True)
    way_out = next(((each, member) for each, member in pairs if not each.internal), None)
    if not request.ports or way_out is None:
        return None
    from cloche.network.publishing import Publication

    definition, member = way_out
    publication = Publication(member, nat=(request.publish or definition.publish or "nat") == "nat")
    try:
        publication.add(request.ports)
    except BaseException:
        publication.close()
        raise
    return publication


def _make(networks: Networks, attached: Attached, definitions: list[Definition]) -> None:
    """What the record says: leases, links and rules."""
    for member in attached.members:
        networks.attachments.keep(member, attached.id)
    out = next((number for number, each in enumerate(definitions) if not each.internal), -1)
    with RouteSocket() as route, bridge.Namespace(attached.pid) as namespace:
        for number, (definition, member) in enumerate(zip(definitions, attached.members, strict=True)):
            index = bridge.ensure(route, definition)
            reflected = any(port.nat for port in attached.ports)
            leads_out = number == out
            namespace.join(route, index, member, mtu=definition.mtu, leads_out=leads_out, reflected=reflected)
    networks.add_rules(definitions, attached.ports)


def _accompany(
    networks: Networks, attached: Attached, duties: Sequence[Duty], servers: Sequence[str], *, names: bool
) -> Attached:
    """Have a companion, and it on record. Its ports wait for it, should it take a while to come."""
    from cloche.network import companion

    resolver = [_resolver(attached)] if names else []
    try:
        pid, start_time = companion.start(
            [*duties, *resolver],
            pid=attached.pid,
            start_time=attached.start_time,
            container_id=attached.id,
            state=networks.state,
            servers=servers,
        )
    finally:
        for duty in resolver:
            duty.close()
    companions = (*attached.companions, (pid, start_time))
    attached = attached.replace(companions=companions, names=attached.names or names)
    networks.attachments.write(attached)
    return attached


def _resolver(attached: Attached) -> Duty:
    """The sockets on which names are asked for, in the container."""
    from cloche.kernel import netns
    from cloche.network.companion import Duty
    from cloche.network.inside import name_sockets

    namespace = netns.of_process(attached.pid)
    try:
        datagrams, stream = name_sockets(namespace)
    except OSError as error:
        raise FailedPrecondition(f"127.0.0.11 cannot answer in the container: {error.strerror}") from None
    finally:
        os.close(namespace)
    return Duty("dns", datagrams, other=stream)


def _member(
    networks: Networks, container_id: str, definition: Definition, endpoint: Endpoint, number: int
) -> Member:
    values: dict[str, str | int] = {}
    for version, wanted, suffix in ((4, endpoint.ip, ""), (6, endpoint.ip6, "6")):
        pool = definition.pool(version)
        if pool is None:
            if wanted:
                raise InvalidArgument(f"network {definition.name} has no subnet of IPv{version} for {wanted}")
            continue
        subnet = Subnet.parse(pool.subnet)
        if wanted and addresses.parse(wanted) not in subnet:
            raise InvalidArgument(f"no configured subnet of network {definition.name} contains {wanted}")
        values[f"ip{suffix}"] = networks.attachments.lease(definition.id, pool, container_id, wanted=wanted)
        values[f"prefix_length{suffix}"] = subnet.prefix_length
        values[f"gateway{suffix}"] = pool.gateway
    address = str(values.get("ip") or values.get("ip6") or "")
    mac = addresses.parse_mac(endpoint.mac) if endpoint.mac else addresses.mac_of(addresses.parse(address))
    return Member(
        network=definition.name,
        network_id=definition.id,
        link=definition.link,
        interface=f"eth{number}",
        mac=addresses.show_mac(mac),
        aliases=tuple(endpoint.aliases),
        **values,  # type: ignore[arg-type]  # texts and numbers as their names say
    )


def connect(
    networks: Networks, container_id: str, endpoint: Endpoint, servers: Sequence[str], *, names: bool
) -> Attached:
    """Bring a container that runs into one more network; its record.

    names: whether 127.0.0.11 has to answer from now on. Raises NotFound for a container without networks,
    AlreadyExists where it is in this one, and as `attach`.
    """
    definition = networks.get(endpoint.network)
    with networks.alone():
        before = _running(networks, container_id)
        if before.member(definition.name) is not None:
            raise AlreadyExists(f"container {_called(before)} is in network {definition.name} already")
        taken = {each.interface for each in before.members}
        number = next(number for number in range(len(taken) + 1) if f"eth{number}" not in taken)
        member = _member(networks, container_id, definition, endpoint, number)
        attached = before.replace(members=(*before.members, member))
        networks.attachments.write(attached)
        try:
            networks.attachments.keep(member, container_id)
            out = not definition.internal and not _ways_out(networks, before)
            with RouteSocket() as route, bridge.Namespace(before.pid) as namespace:
                index = bridge.ensure(route, definition)
                namespace.join(route, index, member, mtu=definition.mtu, leads_out=out)
            networks.add_rules([definition], ())
            if names and not before.names:
                attached = _accompany(networks, attached, (), servers, names=True)
        except BaseException:
            _part(networks, attached, member)
            raise
    return attached


def disconnect(
    networks: Networks, container_id: str, definition: Definition, servers: Sequence[str]
) -> Attached:
    """Take a container that runs out of a network; its record. Ports that led there are published no more.

    Raises NotFound where it is not in it.
    """
    with networks.alone():
        attached = _running(networks, container_id)
        member = attached.member(definition.name)
        if member is None:
            raise NotFound(f"container {_called(attached)} is not in network {definition.name}")
        led = tuple(port for port in attached.ports if (port.ip, port.ip6) == (member.ip, member.ip6))
        if led:
            networks.end_companions(attached)
            networks.remove_rules(led)
        left = _part(networks, attached, member)
        if led:
            left = left.replace(ports=tuple(port for port in left.ports if port not in led), companions=())
            networks.attachments.write(left)
            if left.names:
                left = _accompany(networks, left, (), servers, names=True)
        ways_out = _ways_out(networks, left)
        if ways_out:
            with bridge.Namespace(left.pid) as namespace:
                namespace.leads_out(ways_out[0])
    return left


def _part(networks: Networks, attached: Attached, member: Member) -> Attached:
    """Out of one network: the link, then the record, then the address."""
    with bridge.Namespace(attached.pid) as namespace:
        namespace.leave(member)
    left = attached.replace(members=tuple(each for each in attached.members if each != member))
    networks.attachments.write(left)
    networks.attachments.give_back(member, attached.id)
    return left


def _ways_out(networks: Networks, attached: Attached) -> list[Member]:
    internal = {each.id for each in networks.definitions.list() if each.internal}
    return [each for each in attached.members if each.network_id not in internal]


def _running(networks: Networks, container_id: str) -> Attached:
    attached = networks.attachments.get(container_id)
    if attached is None or not attached.alive():
        raise NotFound(f"container {container_id[:12]} has no networks of its own")
    return attached


def _called(attached: Attached) -> str:
    return attached.name or attached.id[:12]
