"""Which kernel namespaces a container has of its own, shares with the host, or joins."""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.network.requests import is_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.engine.options import Options
    from cloche.spec.config import IDMapping, Namespace, NamespaceType

_CONTAINER = "container:"
# option, namespace, its file in /proc/PID/ns, and the modes beside "container:ID".
_MODES: tuple[tuple[str, NamespaceType, str, tuple[str, ...]], ...] = (
    ("network", "network", "net", ("private", "none", "host")),
    ("pid", "pid", "pid", ("private", "host")),
    ("ipc", "ipc", "ipc", ("private", "none", "shareable", "host")),
    ("uts", "uts", "uts", ("private", "host")),
    ("userns", "user", "user", ("private", "host")),
    ("cgroupns", "cgroup", "cgroup", ("private", "host")),
)
_SYNONYMS = {"network": {"default": "bridge", "": "private"}, "userns": {"": "host"}}


def mode(options: Options, name: str) -> str:
    """The mode of one namespace option in the words of `_MODES`."""
    value: str = getattr(options, name)
    return _SYNONYMS.get(name, {"": "private"}).get(value, value)


def joined(options: Options) -> dict[str, str]:
    """Option -> reference of the container whose namespace is joined. Raises InvalidArgument."""
    found = {}
    for name, _, _, modes in _MODES:
        value = mode(options, name)
        if value.startswith(_CONTAINER) and len(value) > len(_CONTAINER):
            found[name] = value.removeprefix(_CONTAINER)
        elif value not in modes and not (name == "network" and is_name(value)):
            known = ", ".join(modes)
            raise InvalidArgument(f"invalid {name} mode {value!r}: must be {known} or container:ID")
    return found


def check(options: Options) -> None:
    """Refuse settings that another container's or the host's namespaces do not leave open.

    Raises InvalidArgument in Docker's words.
    """
    theirs = joined(options)
    if options.hostname and mode(options, "uts") == "host":
        raise InvalidArgument("conflicting options: hostname and the UTS mode")
    if "network" in theirs:
        for given, what in (
            (options.hostname, "hostname"),
            (options.dns, "dns"),
            (options.hosts, "custom host-to-IP mapping"),
            (options.ports, "port publishing"),
            (options.publish_all, "port publishing"),
            (options.endpoints, "network endpoints"),
        ):
            if given:
                raise InvalidArgument(f"conflicting options: {what} and the network mode")
    if mode(options, "userns") == "private" and (mode(options, "pid") == "host" or "pid" in theirs):
        # The kernel mounts a proc for the owner of the PID namespace alone.
        whose = "container's" if "pid" in theirs else "host's"
        raise InvalidArgument(f"cannot share the {whose} PID namespace when user namespaces are enabled")


def build(options: Options, pids: Mapping[str, int]) -> list[Namespace]:
    """linux.namespaces. pids: for each option of `joined`, a process of that container.

    The cgroup namespace is private by default on every kind of host: a container shall see its own
    cgroup as the root. (Docker does so on cgroup v2 only.) Raises InvalidArgument for a mode that is none.
    """
    check(options)
    namespaces: list[Namespace] = [{"type": "mount"}]
    for name, kind, file, _ in _MODES:
        if name in pids:
            namespaces.append({"type": kind, "path": f"/proc/{pids[name]}/ns/{file}"})
        elif mode(options, name) != "host":
            namespaces.append({"type": kind})
    return namespaces


def id_mappings(options: Options) -> list[IDMapping]:
    """Ids of a private user namespace: the same numbers, so that files keep their owners.

    What it takes away is every capability over the host's own namespaces; ids of their own need
    idmapped mounts of the root file system.
    """
    if mode(options, "userns") != "private":
        return []
    return [{"containerID": 0, "hostID": 0, "size": 65536}]
