"""Which containers are in which networks now, and what was made for them: files below STATE/.network.

    lock                      held by whoever changes anything here
    containers/ID.PID.START   what one running container has: written before any of it is made
    leases/NETWORK/ADDRESS    a link that says whose an address is
    last/NETWORK              the address given out last

None of it is synced, since none of it means anything after a reboot: links, rules and processes are
gone by then. A record whose process has ended is what a crash left; `Attachments.dead` finds it by
its name alone.
"""

from __future__ import annotations

import fcntl
import os

from cloche.errors import ResourceExhausted
from cloche.kernel import pidfd
from cloche.network import addresses, files
from cloche.network.addresses import Subnet
from cloche.spec import document
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from cloche.network.definitions import Pool


class Member(Record):
    """A container's part in one network. interface: its name inside. Addresses as text, empty for none.

    link: the bridge.
    """

    network: str
    network_id: str
    link: str
    interface: str
    mac: str
    ip: str = ""
    ip6: str = ""
    gateway: str = ""
    gateway6: str = ""
    prefix_length: int = 0
    prefix_length6: int = 0
    aliases: tuple[str, ...] = ()


class PublishedPort(Record):
    """A port that is published. host_ip: empty for every address. nat: by a rule, and not only by the
    proxy. ip, ip6: the container's, that the rules lead to."""

    protocol: str
    host_ip: str
    host_port: int
    container_port: int
    nat: bool
    ip: str = ""
    ip6: str = ""


class Attached(Record):
    """All that a running container has of networks.

    pid, start_time: its first process. companions: pid and start time of the processes that proxy its
    ports and serve it names. names: whether one of them does the latter.
    """

    id: str
    pid: int
    start_time: int
    name: str
    hostname: str
    members: tuple[Member, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    companions: tuple[tuple[int, int], ...] = ()
    names: bool = False

    @property
    def file_name(self) -> str:
        """Of its record."""
        return f"{self.id}.{self.pid}.{self.start_time}"

    def alive(self) -> bool:
        """Whether its process runs."""
        return _alive(self.pid, self.start_time)

    def member(self, network: str) -> Member | None:
        """Its part in a network, by name."""
        return next((each for each in self.members if each.network == network), None)


class Attachments:
    """The records of one state directory."""

    def __init__(self, state: str) -> None:
        self.path = f"{state}/.network"
        self._containers = f"{self.path}/containers"

    def lock(self) -> Lock:
        """To be alone with the records, the links and the rules: a context manager."""
        return Lock(self.path)

    def all(self) -> list[Attached]:
        """Every record, of the living and the dead."""
        found = (self._read(name) for name in self._names())
        return [each for each in found if each is not None]

    def get(self, container_id: str) -> Attached | None:
        """A container's; None where it has none."""
        for name in self._names():
            if name.startswith(f"{container_id}."):
                return self._read(name)
        return None

    def dead(self) -> Iterator[Attached]:
        """Records whose process has ended."""
        for name in self._names():
            _, pid, start_time = name.rsplit(".", 2)
            if not _alive(int(pid), int(start_time)):
                found = self._read(name)
                if found is not None:
                    yield found

    def write(self, attached: Attached) -> None:
        """Keep a record; under the lock."""
        os.makedirs(self._containers, 0o700, exist_ok=True)
        value = dict(zip(attached._fields, attached.values(), strict=True))
        for key in ("members", "ports"):
            value[key] = [dict(zip(each._fields, each.values(), strict=True)) for each in value[key]]
        files.write(f"{self._containers}/{attached.file_name}", document.dumps(value), durable=False)

    def remove(self, attached: Attached) -> None:
        """Give its addresses back, and forget it; under the lock."""
        for member in attached.members:
            self.give_back(member, attached.id)
        _unlink(f"{self._containers}/{attached.file_name}")

    def lease(self, network_id: str, pool: Pool, container_id: str, *, wanted: str = "") -> str:
        """An address of a pool that is nobody's, under the lock; `keep` makes it the container's.

        Raises ResourceExhausted where there is none, or the one that is wanted is taken.
        """
        directory = f"{self.path}/leases/{network_id}"
        try:
            taken = {addresses.parse(name): name for name in os.listdir(directory)}
        except FileNotFoundError:
            taken = {}
        if wanted:
            packed = addresses.parse(wanted)
            reserved = {addresses.parse(pool.gateway)}
            if packed in reserved or self._holder(directory, taken.get(packed, "")) not in ("", container_id):
                raise ResourceExhausted(f"address {wanted} is already in use")
            return addresses.show(packed)
        for text in (pool.gateway, *pool.auxiliary.values()):
            taken[addresses.parse(text)] = text
        last = self._last(network_id, pool)
        found = addresses.free(Subnet.parse(pool.ip_range or pool.subnet), taken, last)
        if found is None:
            raise ResourceExhausted(f"no address is free in {pool.ip_range or pool.subnet}")
        return addresses.show(found)

    def keep(self, member: Member, container_id: str) -> None:
        """A member's addresses are a container's, whose record says so already; under the lock."""
        for address in (member.ip, member.ip6):
            if address:
                self._keep(member.network_id, address, container_id)

    def _keep(self, network_id: str, address: str, container_id: str) -> None:
        directory = f"{self.path}/leases/{network_id}"
        os.makedirs(directory, 0o700, exist_ok=True)
        path = f"{directory}/{address}"
        _unlink(path)
        os.symlink(container_id, path)
        version = 6 if ":" in address else 4
        os.makedirs(f"{self.path}/last", 0o700, exist_ok=True)
        _unlink(f"{self.path}/last/{network_id}.{version}")
        os.symlink(address, f"{self.path}/last/{network_id}.{version}")

    def leases(self) -> list[tuple[str, str, str]]:
        """(network id, address, container) of every address that is taken."""
        found = []
        try:
            networks = os.listdir(f"{self.path}/leases")
        except FileNotFoundError:
            return []
        for network_id in networks:
            directory = f"{self.path}/leases/{network_id}"
            found += [(network_id, name, self._holder(directory, name)) for name in os.listdir(directory)]
        return found

    def forget_network(self, network_id: str) -> None:
        """Remove what is kept of a network that no container is in."""
        for version in (4, 6):
            _unlink(f"{self.path}/last/{network_id}.{version}")
        try:
            os.rmdir(f"{self.path}/leases/{network_id}")
        except FileNotFoundError:
            pass

    def _names(self) -> list[str]:
        try:
            names = os.listdir(self._containers)
        except FileNotFoundError:
            return []
        return [name for name in names if name.count(".") == 2 and name.rsplit(".", 2)[1].isdigit()]

    def _read(self, name: str) -> Attached | None:
        """None where it has just gone."""
        try:
            value: dict[str, Any] = document.load_file(f"{self._containers}/{name}")
        except FileNotFoundError:
            return None
        members = tuple(
            Member(**{**each, "aliases": tuple(each.get("aliases", ()))}) for each in value.pop("members")
        )
        ports = tuple(PublishedPort(**each) for each in value.pop("ports"))
        companions = tuple((pid, start_time) for pid, start_time in value.pop("companions"))
        return Attached(members=members, ports=ports, companions=companions, **value)

    def give_back(self, member: Member, container_id: str) -> None:
        """A member's addresses are free again, unless they are another's by now; under the lock."""
        directory = f"{self.path}/leases/{member.network_id}"
        for address in (member.ip, member.ip6):
            if address and self._holder(directory, address) == container_id:
                _unlink(f"{directory}/{address}")

    def free_address(self, network_id: str, address: str) -> None:
        """An address that is nobody's is free again; under the lock."""
        _unlink(f"{self.path}/leases/{network_id}/{address}")

    @staticmethod
    def _holder(directory: str, address: str) -> str:
        try:
            return os.readlink(f"{directory}/{address}") if address else ""
        except FileNotFoundError:
            return ""

    def _last(self, network_id: str, pool: Pool) -> bytes:
        version = Subnet.parse(pool.subnet).version
        try:
            return addresses.parse(os.readlink(f"{self.path}/last/{network_id}.{version}"))
        except (FileNotFoundError, ValueError):
            return b""


class Lock:
    """An exclusive lock on a file of the records: it ends with its holder."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._descriptor = -1

    def __enter__(self) -> None:
        os.makedirs(self._directory, 0o700, exist_ok=True)
        path = f"{self._directory}/lock"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _alive(pid: int, start_time: int) -> bool:
    try:
        return pidfd.start_time(pid) == start_time and not pidfd.ended(pid)
    except ProcessLookupError:
        return False


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
