"""What a container is asked to be: every setting of `cloche run`, as typed values.

The words of the command line and of Docker's API are turned into these by `engine.grammar`; the
engine stores them with the container (`to_document`) and compiles them into config.json at each
start.
"""

from __future__ import annotations

from cloche.network.requests import Endpoint, Port
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

DEFAULT_SHM_BYTES = 64 << 20


class MountOption(Record):
    """Something mounted into the container on request (`-v`, `--mount`, `--tmpfs`).

    kind: "bind", "volume" or "tmpfs". source: a host path, a volume's name, or empty (an anonymous
    volume). create_source: a missing host directory is made, as `-v` does and `--mount` does not.
    """

    kind: str
    target: str
    source: str = ""
    read_only: bool = False
    propagation: str = ""
    recursive: bool = True
    create_source: bool = False
    copy_up: bool = True
    tmpfs_options: tuple[str, ...] = ()


class DeviceOption(Record):
    """A host device given to the container; access is any of "r", "w", "m"."""

    source: str
    target: str
    access: str = "rwm"


class Ulimit(Record):
    """A resource limit: name without RLIMIT_, in lower case; -1 is no limit."""

    name: str
    soft: int
    hard: int


class Options(Record):
    """Settings of one container; the defaults are Docker's.

    args: what is run, in place of the image's Cmd. entrypoint: None keeps the image's, an empty
    tuple removes it. Namespace modes (network, pid, ipc, uts, userns, cgroupns): "private",
    "host", "container:ID"; network also "none", or the name of a network ("bridge", or "default" for
    the same). endpoints: the networks by name that it is in, where there is more to say of them than the
    one name in `network`. publish_all: what it exposes (its image's ports and `exposed`), on ports of
    the kernel's choice. publish: "nat" or "proxy" instead of the network's own way.
    memory_swap: memory plus swap in bytes, -1 for no limit. env: "KEY=value", or "KEY" to take it out.
    stdin_once: the container's stdin ends with the first client's (an attached run), where otherwise it
    stays open for others.
    """

    args: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    name: str = ""
    env: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    hostname: str = ""
    domainname: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    workdir: str = ""
    tty: bool = False
    stdin_open: bool = False
    stdin_once: bool = False
    read_only: bool = False
    init: bool = False
    auto_remove: bool = False
    stop_signal: str = ""
    stop_timeout_s: int = 10

    network: str = "private"
    pid: str = "private"
    ipc: str = "private"
    uts: str = "private"
    userns: str = ""
    cgroupns: str = "private"
    cgroup_parent: str = ""
    hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[Port, ...] = ()
    exposed: tuple[str, ...] = ()
    publish_all: bool = False
    publish: str = ""

    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    cpus: float | None = None
    cpu_shares: int | None = None
    cpu_quota_us: int | None = None
    cpu_period_us: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int | None = None
    oom_score_adj: int | None = None
    shm_size: int = DEFAULT_SHM_BYTES
    ulimits: tuple[Ulimit, ...] = ()
    sysctls: dict[str, str] = {}

    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    security_opt: tuple[str, ...] = ()
    devices: tuple[DeviceOption, ...] = ()
    mounts: tuple[MountOption, ...] = ()


_NESTED: dict[str, type[Record]] = {
    "ulimits": Ulimit,
    "devices": DeviceOption,
    "mounts": MountOption,
    "endpoints": Endpoint,
    "ports": Port,
}


def to_document(options: Options) -> dict[str, Any]:
    """The settings that differ from the defaults, as plain JSON values."""
    document: dict[str, Any] = {}
    for name, default in _DEFAULTS.items():
        value = getattr(options, name)
        if value == default:
            continue
        if name in _NESTED:
            value = [dict(zip(each._fields, each.values(), strict=True)) for each in value]
        document[name] = value
    return document


def from_document(document: Mapping[str, Any]) -> Options:
    """The settings that `to_document` wrote; settings of a newer version are ignored."""
    fields: dict[str, Any] = {}
    for name, value in document.items():
        if name not in _DEFAULTS:
            continue
        if name in _NESTED:
            kind = _NESTED[name]
            value = tuple(kind(**{k: _frozen(v) for k, v in each.items()}) for each in value)
        fields[name] = _frozen(value)
    return Options(**fields)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


_DEFAULTS = {name: getattr(Options(), name) for name in Options._fields}
