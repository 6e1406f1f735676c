"""The part of a plan that enters, joins and makes kernel namespaces and cgroups."""

from __future__ import annotations

from cloche import os
from cloche.errors import InvalidArgument
from cloche.runtime import operations as op
from cloche.runtime.caller import LENT, LimitProcesses, MoveProcess, OpenFile, RaiseLimit, WriteIdMaps
from cloche.runtime.plan import CALLER, STAGE_ONE, STAGE_TWO, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloche.runtime.facts import CgroupFacts
    from cloche.spec.config import Config, IDMapping

KINDS = {
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "network": 0x40000000,
    "time": 0x00000080,
}
"""CLONE_NEW* of each of the runtime specification's namespace types."""

PROC_NAMES = {
    "mount": "mnt",
    "cgroup": "cgroup",
    "uts": "uts",
    "ipc": "ipc",
    "user": "user",
    "pid": "pid",
    "network": "net",
    "time": "time",
}
"""Their names below /proc/PID/ns."""


def wanted(config: Config) -> dict[str, str]:
    """Type of each namespace of the configuration and the path to join, empty for a new one."""
    return {n["type"]: n.get("path", "") for n in config.get("linux", {}).get("namespaces", ())}


def is_new(config: Config, kind: str) -> bool:
    """Whether the container gets a namespace of this type of its own."""
    return wanted(config).get(kind) == ""


def opened_namespaces(config: Config) -> Iterator[Step]:
    """Open all namespace files before any is entered: afterwards their paths may mean others."""
    for index, namespace in enumerate(config.get("linux", {}).get("namespaces", ())):
        if path := namespace.get("path"):
            place = f"linux.namespaces[{index}]"
            yield Step(place, CALLER, OpenFile(f"namespace:{namespace['type']}", path, os.O_RDONLY))


def joined_namespaces(config: Config) -> Iterator[Step]:
    """Join all but the user namespace, then the user namespace, then again what was refused.

    A namespace owned by the first user namespace needs the host's credentials, one owned by the
    joined user namespace may need those inside (rootless): this order serves every mix of owners.
    """
    joined = {kind: path for kind, path in wanted(config).items() if path}
    for kind in joined:
        if kind != "user" and not (kind == "cgroup" and _is_joined_inside(config)):
            deferrable = int("user" in joined)
            join = op.JoinNamespace(f"namespace:{kind}", KINDS[kind], deferrable)
            yield Step(f"linux.namespaces {kind}", STAGE_ONE, join)
    if "user" in joined:
        place = "linux.namespaces user"
        yield Step(place, STAGE_ONE, op.JoinNamespace("namespace:user", KINDS["user"], 0))
        yield Step(place, STAGE_ONE, op.RetryJoins())


def offset_clocks(config: Config) -> Iterator[Step]:
    """A time namespace of its own, which the clone enters with its offsets set."""
    if is_new(config, "time"):
        offsets = config.get("linux", {}).get("timeOffsets", {})
        lines = (f"{clock} {o.get('secs', 0)} {o.get('nanosecs', 0)}\n" for clock, o in offsets.items())
        yield Step("linux.timeOffsets", STAGE_ONE, op.SetTimeOffsets("".join(lines)))


def cloned(config: Config, cgroups: CgroupFacts) -> Iterator[Step]:
    """The clone, with every new namespace but the cgroup's, which is rooted where we are then."""
    flags = 0
    for kind, path in wanted(config).items():
        if not path and kind not in ("cgroup", "time"):
            flags |= KINDS[kind]
    yield Step("linux.namespaces", STAGE_ONE, op.CloneProcess(flags, birthplace(cgroups)))


def birthplace(cgroups: CgroupFacts) -> str:
    """The slot of the cgroup2 directory to be born in, empty where there is none to."""
    return "cgroup:unified" if cgroups.unified and not cgroups.moved else ""


def is_moved(config: Config) -> bool:
    """Whether a cgroup namespace is joined by path beside a user namespace that may not own it.

    Then it must be joined with the host's rights, before the clone; and where cgroup2 is mounted with
    nsdelegate nobody is born outside of his cgroup namespace (ENOENT). So the caller, who is in the
    first one, moves the process: that waits for a grace period of RCU, and nothing else would do.
    """
    return "user" in wanted(config) and bool(wanted(config).get("cgroup"))


def entering(cgroups: CgroupFacts) -> Iterator[Step]:
    """First of all: where systemd has the cgroup, it makes it around stage one."""
    if cgroups.entrance:
        yield Step("linux.cgroupsPath", CALLER, cgroups.entrance)


def borrows_proc(config: Config, *, labelled: bool) -> bool:
    """Whether the procfs to write sysctls and labels through is the caller's.

    A procfs is mounted with the rights of whoever owns the pid namespace: not those that a new user
    namespace gives where the processes are others'. labelled: the process must find itself in it,
    which it does by its number, and so only among the caller's own.
    """
    if "user" not in wanted(config) or is_new(config, "pid"):
        return False
    return not (labelled and "pid" in wanted(config))


def opened_proc() -> Iterator[Step]:
    """The caller's procfs, for UseProc."""
    yield Step("linux.sysctl", CALLER, OpenFile("proc", "/proc", os.O_PATH | os.O_DIRECTORY))


def opened_cgroups(cgroups: CgroupFacts) -> Iterator[Step]:
    """Open what the process enters by; the files cross into the container's process until exec."""
    place = "linux.cgroupsPath"
    if birthplace(cgroups):
        yield Step(place, CALLER, OpenFile("cgroup:unified", cgroups.unified, os.O_PATH | os.O_DIRECTORY))
    for path in cgroups.tasks:
        yield Step(place, CALLER, OpenFile(f"cgroup:{path}", path, os.O_WRONLY))


def entered_cgroups(cgroups: CgroupFacts) -> Iterator[Step]:
    """First thing in stage two, so that all that follows is accounted and limited."""
    for path in cgroups.tasks:
        yield Step("linux.cgroupsPath", STAGE_TWO, op.EnterCgroup(f"cgroup:{path}"))
    if cgroups.unified and cgroups.moved:
        yield Step("linux.cgroupsPath", STAGE_TWO, op.AwaitCaller())
        yield Step("linux.cgroupsPath", CALLER, MoveProcess(cgroups.unified))
    if cgroups.few_pids:
        place = "linux.resources.pids"
        yield Step(place, STAGE_TWO, op.AwaitCaller())
        yield Step(place, CALLER, LimitProcesses(*cgroups.few_pids))


def mapped_ids(config: Config) -> Iterator[Step]:
    """In a user namespace: wait for the maps of a new one, then be its root, who owns what is made next.

    Not before the clone: CLONE_INTO_CGROUP asks for the ids that own the cgroup on the host.
    """
    if wanted(config).get("user"):
        yield Step("linux.namespaces user", STAGE_TWO, op.BecomeRoot())
    if not is_new(config, "user"):
        return
    linux = config.get("linux", {})
    place = "linux.uidMappings"
    uids, gids = _ranges(linux.get("uidMappings", [])), _ranges(linux.get("gidMappings", []))
    if not uids or not gids:
        raise InvalidArgument(
            "config.json: linux.uidMappings: a new user namespace needs uidMappings and gidMappings"
        )
    yield Step(place, STAGE_TWO, op.AwaitCaller())
    yield Step(place, CALLER, WriteIdMaps(uids, gids))
    for index, rlimit in enumerate(config["process"].get("rlimits", ())):
        from cloche.runtime.process_limits import limit_of

        raised = RaiseLimit(*limit_of(rlimit, index))
        yield Step(f"process.rlimits[{index}]", CALLER, raised)
    yield Step(place, STAGE_TWO, op.BecomeRoot())


def _ranges(mappings: list[IDMapping]) -> tuple[tuple[int, int, int], ...]:
    return tuple((m["containerID"], m["hostID"], m["size"]) for m in mappings)


def delegate_of(config: Config) -> int | None:
    """Which user of the host may arrange cgroups in the container's, None where nobody new.

    The container's own user where it has a cgroup namespace of its own and a cgroup mount that can be
    written (runtime-spec, config-linux, "Cgroup ownership").
    """
    if not is_new(config, "cgroup"):
        return None
    views = (
        mount.get("options", ())
        for mount in config.get("mounts", ())
        if mount["destination"] == "/sys/fs/cgroup" and mount.get("source") == "cgroup"
    )
    if not any("ro" not in options for options in views):
        return None
    return host_uid(config, config["process"].get("user", {}).get("uid", 0))


def inner_group(config: Config) -> int:
    """A group of the host that the container's user namespace knows, -1 where it has none of its own.

    Its privileges inside (and so an exec into the cgroup) count only for files whose owner and group
    are both mapped.
    """
    mappings = config.get("linux", {}).get("gidMappings", ())
    return mappings[0]["hostID"] if mappings and "user" in wanted(config) else -1


def host_uid(config: Config, uid: int) -> int | None:
    """A user of the container as the host sees it; None where that is not known or not mapped."""
    if "user" not in wanted(config):
        return uid
    for mapping in config.get("linux", {}).get("uidMappings", ()):
        if 0 <= uid - mapping["containerID"] < mapping["size"]:
            return mapping["hostID"] + uid - mapping["containerID"]
    return None


def _is_joined_inside(config: Config) -> bool:
    """Whether a cgroup namespace is joined after the cgroup was entered.

    Where cgroup2 is mounted with nsdelegate nobody is born outside of his cgroup namespace (ENOENT).
    But inside a user namespace the join of one of the host's would be refused.
    """
    return "user" not in wanted(config)


def unshared_namespaces(config: Config) -> Iterator[Step]:
    """The cgroup namespace, whose root is where the process is when it is made: after the joins."""
    if wanted(config).get("cgroup") and _is_joined_inside(config):
        join = op.JoinNamespace("namespace:cgroup", KINDS["cgroup"], 0)
        yield Step("linux.namespaces cgroup", STAGE_TWO, join)
    if is_new(config, "cgroup"):
        yield Step("linux.namespaces cgroup", STAGE_TWO, op.UnshareNamespaces(KINDS["cgroup"]))


def prepared_network(config: Config) -> Iterator[Step]:
    """`lo` up, as everything that runs in a new network namespace expects; devices that move in."""
    if is_new(config, "network"):
        yield Step("linux.namespaces network", STAGE_TWO, op.BringUpLoopback())
    if devices := config.get("linux", {}).get("netDevices"):
        from cloche.runtime.netdevices import MoveNetDevices

        if "network" not in wanted(config):
            raise InvalidArgument("config.json: linux.netDevices: a network namespace is needed to move to")
        names = tuple((name, device.get("name") or name) for name, device in devices.items())
        yield Step("linux.netDevices", STAGE_TWO, op.LendNetlink())
        yield Step("linux.netDevices", CALLER, MoveNetDevices(LENT, names))


def named_host(config: Config) -> Iterator[Step]:
    """Host and domain name of the container's uts namespace."""
    if hostname := config.get("hostname"):
        yield Step("hostname", STAGE_TWO, op.SetHostname(hostname))
    if domainname := config.get("domainname"):
        yield Step("domainname", STAGE_TWO, op.SetDomainname(domainname))
