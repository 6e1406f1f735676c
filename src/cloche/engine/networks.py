"""The networks of an engine: made, shown and removed, and containers brought into and out of them."""

from __future__ import annotations

from cloche.engine import networking
from cloche.errors import FailedPrecondition, InvalidArgument, NotFound
from cloche.network.requests import Endpoint
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from cloche.engine.container import Container
    from cloche.engine.context import Context
    from cloche.network.definitions import Definition, Wish
    from cloche.network.requests import Port
    from cloche.store.containers import Container as Row

_NULL_DRIVERS = {"host": "host", "none": "null"}


class Network(Record):
    """A network as it is listed. driver: "bridge", "host" or "null"."""

    name: str
    id: str
    driver: str
    created: str
    internal: bool = False
    attachable: bool = False
    labels: Mapping[str, str] = {}
    options: Mapping[str, str] = {}
    pools: tuple[Mapping[str, Any], ...] = ()

    @property
    def builtin(self) -> bool:
        """Whether it is there without having been made."""
        return self.name in ("bridge", *_NULL_DRIVERS)


class Networks:
    """See the module. A reference is a name, an id, or the beginning of an id."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._networks = networking.networks(context)

    def create(self, wish: Wish) -> Network:
        """Make a network. Raises AlreadyExists, InvalidArgument, ResourceExhausted."""
        from cloche.shim.timestamps import now

        if wish.name == "bridge":
            raise InvalidArgument("network bridge is there already, without having been made")
        return _network(self._networks.create(wish, created=now()))

    def list(self) -> list[Network]:
        """All, by name."""
        fixed = (Network(name, _fixed_id(name), driver, "") for name, driver in _NULL_DRIVERS.items())
        found = [self._default(), *fixed]
        found += [_network(each) for each in self._networks.definitions.list() if not each.is_default]
        return sorted(found, key=lambda each: each.name)

    def get(self, reference: str) -> Network:
        """Raises NotFound, and FailedPrecondition where several ids begin so."""
        for name in _NULL_DRIVERS:
            if reference and (reference == name or _fixed_id(name).startswith(reference)):
                return Network(name, _fixed_id(name), _NULL_DRIVERS[name], "")
        if reference in ("bridge", "default") or (
            reference and self._networks.definitions.default_id().startswith(reference)
        ):
            return self._default()
        return _network(self._networks.definitions.get(reference))

    def inspect(self, reference: str) -> dict[str, Any]:
        """All that is known about one, in the shape of Docker's API."""
        network = self.get(reference)
        members = {}
        for attached in self._networks.attachments.all():
            for member in attached.members:
                if member.network_id == network.id and attached.alive():
                    members[attached.id] = {
                        "Name": attached.name or attached.id[:12],
                        "EndpointID": _endpoint_id(network.id, attached.id),
                        "MacAddress": member.mac,
                        "IPv4Address": f"{member.ip}/{member.prefix_length}" if member.ip else "",
                        "IPv6Address": f"{member.ip6}/{member.prefix_length6}" if member.ip6 else "",
                    }
        return {
            "Name": network.name,
            "Id": network.id,
            "Created": network.created or "0001-01-01T00:00:00Z",
            "Scope": "local",
            "Driver": network.driver,
            "EnableIPv4": any("." in each["Subnet"] for each in network.pools),
            "EnableIPv6": any(":" in each["Subnet"] for each in network.pools),
            "IPAM": {"Driver": "default", "Options": {}, "Config": [dict(each) for each in network.pools]},
            "Internal": network.internal,
            "Attachable": network.attachable,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Containers": members,
            "Options": dict(network.options),
            "Labels": dict(network.labels),
        }

    def remove(self, reference: str) -> None:
        """Remove one with its bridge. Raises NotFound, and FailedPrecondition while it is in use."""
        network = self.get(reference)
        if network.builtin:
            raise FailedPrecondition(f"{network.name} is a pre-defined network and cannot be removed")
        self._networks.remove(self._networks.definitions.get(network.id))

    def prune(self) -> Sequence[str]:
        """Remove every network that was made and that no container names; the names of those.

        What the kernel still has of others that nobody is in goes as well: they stay defined.
        """
        used = {endpoint.network for row in self._rows() for endpoint in _endpoints(row)}
        removed = []
        for definition in self._networks.idle():
            if not definition.is_default and definition.name not in used:
                self._networks.remove(definition)
                removed.append(definition.name)
        self._networks.unmake_idle()
        return removed

    def connect(self, reference: str, container: Container, endpoint: Endpoint) -> None:
        """Bring a container into one more network: now where it runs, and at each of its starts.

        endpoint: its network's name is filled in. Raises AlreadyExists where it is in it,
        FailedPrecondition for a container that has no networks of its own.
        """
        name = self.get(reference).name
        if name in _NULL_DRIVERS:
            raise InvalidArgument(f"a container cannot be connected to network {name} while it exists")
        options = container.options
        present = networking.endpoints(options)
        if not present:
            raise FailedPrecondition(
                f"container {container.name} cannot be connected: its network is {options.network!r}"
            )
        endpoint = endpoint.replace(network=name)
        if container.status().running:
            from cloche.network import membership

            options = options.replace(endpoints=(*present, endpoint))
            names = networking.needs_resolver(options)
            membership.connect(
                self._networks, container.id, endpoint, networking.servers(options), names=names
            )
            networking.write_resolver(container.directory, options)
        elif any(each.network == name for each in present):
            raise FailedPrecondition(f"container {container.name} is in network {name} already")
        self._keep(container, (*present, endpoint))

    def disconnect(self, reference: str, container: Container, *, force: bool = False) -> None:
        """Take a container out of a network. force: one that is gone does not matter. Raises NotFound."""
        try:
            network = self.get(reference)
            present = networking.endpoints(container.options)
            left = tuple(each for each in present if each.network != network.name)
            if network.name in _NULL_DRIVERS or len(left) == len(present):
                raise NotFound(f"container {container.name} is not in network {network.name}")
            if container.status().running:
                from cloche.network import membership

                definition = self._networks.definitions.get(network.id)
                membership.disconnect(
                    self._networks, container.id, definition, networking.servers(container.options)
                )
        except NotFound:
            if force:
                return
            raise
        self._keep(container, left)

    def explain(self, definition_of: str, ports: Sequence[Port], *, proxied: bool) -> str:
        """The rules of a network, and those that publishing these ports of a new container would add."""
        from cloche.network import explain

        definition = self._networks.get(definition_of or "bridge", created=_now())
        return explain.of_ports(self._networks, definition, ports, proxied=proxied)

    def explain_container(self, container: Container) -> str:
        """The rules that serve a container now. Raises FailedPrecondition where it has no networks."""
        from cloche.network import explain

        attached = networking.attached(self._context, container.id)
        if attached is None:
            raise FailedPrecondition(f"container {container.name} is in no network now")
        return explain.of_container(self._networks, attached)

    def _keep(self, container: Container, endpoints: tuple[Endpoint, ...]) -> None:
        """Have a container's networks in the store, for its next starts."""
        from cloche.store import containers as store

        network = endpoints[0].network if endpoints else "none"
        options = container.options.replace(network=network, endpoints=endpoints)
        kept = container.kept.replace(options=options)
        with self._context.metadata.write() as tx:
            store.update(tx, container.row.replace(options=kept.to_bytes()))

    def _rows(self) -> Iterator[Row]:
        from cloche.store import containers as store

        with self._context.metadata.read() as tx:
            for (namespace,) in list(tx.execute("SELECT DISTINCT namespace FROM containers")):
                yield from store.list(tx, namespace)

    def _default(self) -> Network:
        """`bridge`; without a subnet as long as no container has needed one."""
        try:
            return _network(self._networks.definitions.get("bridge"))
        except NotFound:
            return Network("bridge", self._networks.definitions.default_id(), "bridge", "")


def _endpoints(row: Row) -> tuple[Endpoint, ...]:
    from cloche.engine.kept import Kept

    return networking.endpoints(Kept.of(row).options) if row.options else ()


def _network(definition: Definition) -> Network:
    pools = tuple(
        {
            "Subnet": pool.subnet,
            **({"IPRange": pool.ip_range} if pool.ip_range else {}),
            "Gateway": pool.gateway,
            **({"AuxiliaryAddresses": dict(pool.auxiliary)} if pool.auxiliary else {}),
        }
        for pool in definition.pools
    )
    return Network(
        definition.name,
        definition.id,
        "bridge",
        definition.created,
        definition.internal,
        definition.attachable,
        definition.labels,
        {**definition.options, "com.docker.network.bridge.name": definition.link},
        pools,
    )


def _fixed_id(name: str) -> str:
    from hashlib import sha256

    return sha256(f"cloche network {name}".encode()).hexdigest()


def _endpoint_id(network_id: str, container_id: str) -> str:
    from hashlib import sha256

    return sha256(f"{network_id} {container_id}".encode()).hexdigest()


def _now() -> str:
    from cloche.shim.timestamps import now

    return now()
