"""What a crio.conf gives every container, and what it gives those of a workload. Pure."""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.spec.document import loads
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cloche.spec.config import Config


class Ulimit(Record):
    """A limit of a process: soft and hard, -1 for none. name: as RLIMIT_NOFILE."""

    name: str
    soft: int
    hard: int


class Workload(Record):
    """A kind of pod: those that have an annotation of this name have these resources.

    prefix: of annotations that change them for one container, PREFIX/CONTAINER. cpu_shares: 0 for none.
    """

    name: str
    activation: str
    prefix: str
    cpu_shares: int = 0
    cpuset: str = ""


class Defaults(Record):
    """What holds where nobody says otherwise. pids: the most tasks of a container, 0 for any number."""

    pids: int = 0
    ulimits: tuple[Ulimit, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    environment: tuple[str, ...] = ()
    read_only: bool = False
    workloads: tuple[Workload, ...] = ()


def add(document: Config, defaults: Defaults, annotations: Mapping[str, str], container: str) -> None:
    """Complete a container's config.json. annotations: the pod's. Raises InvalidArgument for one of them."""
    process, resources = document["process"], document["linux"].setdefault("resources", {})
    if defaults.ulimits:
        process["rlimits"] = [
            {"type": each.name, "soft": each.soft % 2**64, "hard": each.hard % 2**64}
            for each in defaults.ulimits
        ]
    if defaults.pids:
        resources.setdefault("pids", {"limit": defaults.pids})
    if defaults.environment:
        known = {entry.partition("=")[0] for entry in process["env"]}
        process["env"] += [each for each in defaults.environment if each.partition("=")[0] not in known]
    if defaults.read_only:
        document["root"]["readonly"] = True
    for workload in defaults.workloads:
        if workload.activation in annotations:
            cpu = resources.setdefault("cpu", {})
            shares, cpuset = _resources(workload, annotations, container)
            if shares:
                cpu["shares"] = shares
            if cpuset:
                cpu["cpus"] = cpuset


def _resources(workload: Workload, annotations: Mapping[str, str], container: str) -> tuple[int, str]:
    """Its processor shares and set, with what an annotation says of this container."""
    values: dict[str, Any] = {"cpushares": workload.cpu_shares, "cpuset": workload.cpuset}
    name = f"{workload.prefix}/{container}"
    if workload.prefix and name in annotations:
        told = loads(annotations[name], f"annotation {name}")
        if not isinstance(told, dict):
            raise InvalidArgument(f"annotation {name}: must be an object with cpushares and cpuset")
        values |= told
    for key in values:
        # One resource, without JSON, as in older versions.
        values[key] = annotations.get(f"{workload.prefix}.{key}/{container}", values[key])
    shares = str(values["cpushares"])
    if not (shares.isascii() and shares.isdigit() and len(shares) < 8):
        raise InvalidArgument(f"annotation {name}: cpushares: {shares[:40]!r} is no number of shares")
    return int(shares), str(values["cpuset"])
