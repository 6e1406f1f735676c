"""The networks of a root, as their users made them: one durable file each below ROOT/networks.

`bridge` is there without having been made; its file is written at its first use, when its subnet is
chosen. `host` and `none` are names of what needs no network at all.
"""

from __future__ import annotations

import os

from cloche.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from cloche.network import addresses, files
from cloche.network.addresses import Subnet
from cloche.spec import document
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

DEFAULT = "bridge"
PREDEFINED = ("bridge", "host", "none")
_DEFAULT_LINK = "cloche0"
_DEFAULT_ROOT = "/var/lib/cloche"
_LINK_OPTIONS = ("com.docker.network.bridge.name", "bridge")
_MTU_OPTIONS = ("com.docker.network.driver.mtu", "mtu")
PUBLISH_OPTION = "publish"


class Pool(Record):
    """One subnet of a network. gateway: the bridge's own address in it. ip_range: what containers get
    their addresses from. auxiliary: addresses that none gets, by name."""

    subnet: str
    gateway: str
    ip_range: str = ""
    auxiliary: Mapping[str, str] = {}


class Definition(Record):
    """A network. id: 64 hexadecimal digits. link: the bridge's name. created: RFC 3339.

    internal: it leads nowhere. mtu: 0 for the kernel's. publish: "" (as the rest of the machine),
    "nat" or "proxy".
    """

    name: str
    id: str
    link: str
    created: str
    pools: tuple[Pool, ...]
    internal: bool = False
    labels: Mapping[str, str] = {}
    options: Mapping[str, str] = {}
    attachable: bool = False

    @property
    def is_default(self) -> bool:
        """Whether this is the network that is there without having been made."""
        return self.name == DEFAULT

    @property
    def mtu(self) -> int:
        """0 for the kernel's own choice."""
        return int(next((self.options[key] for key in _MTU_OPTIONS if key in self.options), "0"))

    @property
    def publish(self) -> str:
        """How ports are published: "nat", "proxy", or "" for the machine's choice."""
        return self.options.get(PUBLISH_OPTION, "")

    def pool(self, version: int) -> Pool | None:
        """The subnet of IPv4 or of IPv6, None where it has none."""
        return next((each for each in self.pools if Subnet.parse(each.subnet).version == version), None)

    def subnets(self) -> list[Subnet]:
        """All of them."""
        return [Subnet.parse(each.subnet) for each in self.pools]


class Wish(Record):
    """What somebody who makes a network asks for. pools: in the order of their flags."""

    name: str
    subnets: Sequence[str] = ()
    gateways: Sequence[str] = ()
    ranges: Sequence[str] = ()
    auxiliary: Mapping[str, str] = {}
    internal: bool = False
    ipv4: bool = True
    ipv6: bool = False
    labels: Mapping[str, str] = {}
    options: Mapping[str, str] = {}
    attachable: bool = False


class Definitions:
    """The networks of one root."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._directory = f"{root}/networks"

    def list(self) -> list[Definition]:
        """Those that have a file, by name."""
        try:
            names = sorted(os.listdir(self._directory))
        except FileNotFoundError:
            return []
        return [self._read(name.removesuffix(".json")) for name in names if name.endswith(".json")]

    def get(self, reference: str) -> Definition:
        """By name, id or the beginning of an id. Raises NotFound, FailedPrecondition for several."""
        if _is_file_name(reference) and os.path.exists(self._path(reference)):
            return self._read(reference)
        found = [each for each in self.list() if reference and each.id.startswith(reference)]
        if len(found) > 1:
            raise FailedPrecondition(
                f"network id {reference!r} is the beginning of several: write more of it"
            )
        if not found:
            raise NotFound(f"network {reference!r} not found: `cloche network create` makes one")
        return found[0]

    def create(self, wish: Wish, *, created: str, in_use: Iterable[Subnet]) -> Definition:
        """Make a network. in_use: what the machine has routes to already, and no network may overlap.

        Raises AlreadyExists, InvalidArgument, and ResourceExhausted where no subnet is free.
        """
        if wish.name in PREDEFINED and wish.name != DEFAULT:
            raise AlreadyExists(f"network with name {wish.name} already exists")
        _check_name(wish.name)
        _check_options(wish.options)
        if os.path.exists(self._path(wish.name)):
            raise AlreadyExists(f"network with name {wish.name} already exists")
        taken = [*in_use, *(subnet for each in self.list() for subnet in each.subnets())]
        network_id = self.default_id() if wish.name == DEFAULT else os.urandom(32).hex()
        made = Definition(
            wish.name,
            network_id,
            self._link(wish, network_id),
            created,
            tuple(_pools(wish, taken)),
            wish.internal,
            dict(wish.labels),
            dict(wish.options),
            wish.attachable,
        )
        self.write(made)
        return made

    def default_id(self) -> str:
        """The id of `bridge`, which it has before it is defined."""
        from hashlib import sha256

        return sha256(f"cloche network bridge of {self._root}".encode()).hexdigest()

    def write(self, definition: Definition) -> None:
        """Have a network on disk."""
        os.makedirs(self._directory, 0o700, exist_ok=True)
        value = dict(zip(definition._fields, definition.values(), strict=True))
        value["pools"] = [dict(zip(each._fields, each.values(), strict=True)) for each in definition.pools]
        files.write(self._path(definition.name), document.dumps(value), durable=True)

    def remove(self, name: str) -> None:
        """Forget one; one that is gone does not matter."""
        try:
            os.unlink(self._path(name))
        except FileNotFoundError:
            return
        files.sync(self._directory)

    def _link(self, wish: Wish, network_id: str) -> str:
        asked = next((wish.options[key] for key in _LINK_OPTIONS if key in wish.options), "")
        if asked:
            from cloche.network.cni_config import check_interface

            check_interface(asked)
            return asked
        # Roots share nothing, and so not a bridge: only the machine's own has the name that people know.
        return (
            _DEFAULT_LINK if wish.name == DEFAULT and self._root == _DEFAULT_ROOT else f"cl-{network_id[:12]}"
        )

    def _path(self, name: str) -> str:
        return f"{self._directory}/{name}.json"

    def _read(self, name: str) -> Definition:
        value: dict[str, Any] = document.load_file(self._path(name))
        pools = tuple(Pool(**each) for each in value.pop("pools"))
        return Definition(pools=pools, **value)


def _is_file_name(name: str) -> bool:
    return bool(name) and "/" not in name and "\0" not in name and name[0] != "."


def _check_name(name: str) -> None:
    from cloche.network.cni_config import check_name

    check_name(name, "network name")


def _check_options(options: Mapping[str, str]) -> None:
    known = (*_LINK_OPTIONS, *_MTU_OPTIONS, PUBLISH_OPTION)
    for key, value in options.items():
        if key in _MTU_OPTIONS and not (value.isascii() and value.isdigit() and 68 <= int(value) <= 65535):
            raise InvalidArgument(f"invalid option {key}={value}: must be a number of bytes, 68 to 65535")
        if key == PUBLISH_OPTION and value not in ("nat", "proxy"):
            raise InvalidArgument(f'invalid option {key}={value}: must be "nat" or "proxy"')
        if key not in known and not key.startswith("com.docker.network."):
            raise InvalidArgument(f"invalid option {key[:60]!r}: {', '.join(known)} are known")


def _pools(wish: Wish, taken: Sequence[Subnet]) -> list[Pool]:
    subnets = [Subnet.parse(text) for text in wish.subnets]
    for subnet in subnets:
        for other in taken:
            if subnet.overlaps(other):
                raise InvalidArgument(f"invalid subnet {subnet}: the machine has a route to {other} already")
    versions = [subnet.version for subnet in subnets]
    if len(set(versions)) < len(versions):
        raise InvalidArgument("invalid subnets: one of IPv4 and one of IPv6 at most")
    if 4 not in versions and wish.ipv4:
        found = addresses.free_subnet([*taken, *subnets])
        if found is None:
            raise ResourceExhausted("all predefined subnets are taken: choose one with --subnet")
        subnets.insert(0, found)
    if 6 not in versions and wish.ipv6:
        subnets.append(addresses.random_subnet6(os.urandom(7)))
    return [_pool(subnet, wish) for subnet in subnets]


def _pool(subnet: Subnet, wish: Wish) -> Pool:
    """A subnet with those of the gateways, ranges and other addresses that are in it."""
    first, last = subnet.usable()
    if last - first < 1:
        raise InvalidArgument(f"invalid subnet {subnet}: it has no room for a gateway and a container")
    gateway = subnet.host(first)
    for text in wish.gateways:
        if (asked := addresses.check(text, "gateway")) in subnet:
            gateway = asked
        elif not any(asked in Subnet.parse(each) for each in wish.subnets):
            raise InvalidArgument(f"invalid gateway {text}: it is in no subnet of the network")
    ip_range = ""
    for text in wish.ranges:
        if (asked_range := Subnet.parse(text, "ip-range")).address in subnet:
            ip_range = str(asked_range)
        elif not any(asked_range.address in Subnet.parse(each) for each in wish.subnets):
            raise InvalidArgument(f"invalid ip-range {text}: it is in no subnet of the network")
    auxiliary = {
        name: text for name, text in wish.auxiliary.items() if addresses.check(text, "aux-address") in subnet
    }
    return Pool(str(subnet), addresses.show(gateway), ip_range, auxiliary)
