"""The networks of one root: made, removed, and cleared of what containers that have ended left.

detach   companions -> rules -> addresses -> record      (the links go with the container)

Each step may find that its thing is gone or never was: so it undoes an `attach` (`network.membership`)
that was cut off anywhere. All changes happen under one lock for each state directory.
"""

from __future__ import annotations

from cloche.errors import FailedPrecondition, InvalidArgument, NotFound
from cloche.kernel.rtnetlink import RouteSocket
from cloche.network import bridge, firewall
from cloche.network.attachments import Attached, Attachments
from cloche.network.definitions import DEFAULT, Definition, Definitions, Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloche.network.attachments import Lock, PublishedPort
    from cloche.network.firewall import Nftables
    from cloche.network.iptables import Iptables


class Networks:
    """See the module. Any thread may call; calls block."""

    def __init__(self, root: str, state: str) -> None:
        self.definitions = Definitions(root)
        self.attachments = Attachments(state)
        self._firewall: Nftables | Iptables | None = None
        self.state = state

    @property
    def firewall(self) -> Nftables | Iptables:
        """What rules are written with here."""
        if self._firewall is None:
            self._firewall = firewall.of(self.state, self._everything)
        return self._firewall

    def _everything(self) -> tuple[list[Definition], list[PublishedPort]]:
        """The networks that containers are in, and all ports."""
        everyone = self.attachments.all()
        used = {member.network_id for each in everyone for member in each.members}
        networks = [each for each in self.definitions.list() if each.id in used]
        return networks, [port for each in everyone for port in each.ports]

    def alone(self) -> Lock:
        """Nobody else changes anything in the block, in another thread or process."""
        return self.attachments.lock()

    def get(self, reference: str, *, created: str = "") -> Definition:
        """A network; `bridge` is defined where it is not yet. Raises NotFound, InvalidArgument."""
        reference = DEFAULT if reference == "default" else reference
        if reference in ("host", "none"):
            raise InvalidArgument(f"{reference} is no network that a container can be brought into")
        try:
            return self.definitions.get(reference)
        except NotFound:
            if reference != DEFAULT:
                raise
        return self.create(Wish(DEFAULT), created=created)

    def create(self, wish: Wish, *, created: str) -> Definition:
        """Make a network; its bridge comes with its first container. Raises as `Definitions.create`."""
        with self.alone():
            if wish.name == DEFAULT:
                try:
                    return self.definitions.get(DEFAULT)
                except NotFound:
                    pass
            with RouteSocket() as route:
                used = bridge.used_subnets(route)
            return self.definitions.create(wish, created=created, in_use=used)

    def remove(self, definition: Definition) -> None:
        """Remove a network with its bridge and rules. Raises FailedPrecondition while it is in use."""
        with self.alone():
            self.sweep_alone()
            users = [each.name or each.id[:12] for each in self._in(definition)]
            if users:
                raise FailedPrecondition(
                    f"network {definition.name} has active endpoints ({', '.join(users)}): stop these"
                )
            self._unmake(definition)
            self.definitions.remove(definition.name)

    def idle(self) -> list[Definition]:
        """The networks that no running container is in."""
        used = {
            member.network_id for each in self.attachments.all() if each.alive() for member in each.members
        }
        return [each for each in self.definitions.list() if each.id not in used]

    def unmake_idle(self) -> list[str]:
        """Remove bridges and rules that nobody uses; the networks stay defined. Returns the links' names."""
        with self.alone():
            self.sweep_alone()
            idle = self.idle()
            with RouteSocket() as route:
                links = {link.name for link in route.links()}
            gone = [each for each in idle if each.link in links]
            for each in idle:
                self._unmake(each)
            if not self.attachments.all():
                self.firewall.remove_all()
                firewall.unsettle(self.state)
                self._firewall = None
            return [each.link for each in gone]

    def _unmake(self, definition: Definition) -> None:
        with RouteSocket() as route:
            bridge.remove(route, definition.link)
        try:
            self.firewall.remove_network(definition)
        except (OSError, FailedPrecondition):
            pass  # a machine on which no rule can be written has none of ours
        self.attachments.forget_network(definition.id)

    def _in(self, definition: Definition) -> list[Attached]:
        members = [(each, each.member(definition.name)) for each in self.attachments.all()]
        return [each for each, member in members if member is not None and member.network_id == definition.id]

    def rename(self, container_id: str, name: str) -> None:
        """Have a running container known by another name; one without networks is left alone."""
        with self.alone():
            attached = self.attachments.get(container_id)
            if attached is not None:
                self.attachments.write(attached.replace(name=name))

    def detach(self, container_id: str) -> None:
        """Undo what was made for a container that has ended; one without anything is left alone."""
        if self.attachments.get(container_id) is None:
            return
        with self.alone():
            attached = self.attachments.get(container_id)
            if attached is not None:
                self.undo(attached)

    def sweep(self) -> list[str]:
        """Undo what was made for containers that have ended without it; their ids."""
        if next(self.attachments.dead(), None) is None:
            return []
        with self.alone():
            return self.sweep_alone()

    def sweep_alone(self) -> list[str]:
        """As `sweep`, when alone already."""
        dead = list(self.attachments.dead())
        for each in dead:
            self.undo(each)
        return [each.id for each in dead]

    def undo(self, attached: Attached) -> None:
        """Undo what a record speaks of; when alone."""
        self.end_companions(attached)
        self.remove_rules(attached.ports)
        self.attachments.remove(attached)

    @staticmethod
    def end_companions(attached: Attached) -> None:
        """Its ports are free then."""
        for pid, start_time in attached.companions:
            from cloche.network import companion

            companion.end(pid, start_time)

    def remove_rules(self, ports: Iterable[PublishedPort]) -> None:
        """Ports are published no more."""
        ports = [port for port in ports if port.nat]
        if ports:
            try:
                self.firewall.remove_ports(ports)
            except (OSError, FailedPrecondition):
                pass  # a machine on which no rule can be written has none of ours

    def add_rules(self, definitions: Iterable[Definition], ports: Iterable[PublishedPort]) -> None:
        """Have the rules of networks and ports, and all others where somebody has removed the table.

        Raises FailedPrecondition where the kernel refuses, AlreadyExists for a port that has a rule.
        """
        firewall.settle(self.state, self.firewall)
        try:
            self.firewall.add(definitions, ports)
        except OSError as error:
            raise FailedPrecondition(f"the rules of networks cannot be written: {error.strerror}") from None
