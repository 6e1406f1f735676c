"""What must hold between the members of a config.json whose shape is right already.

Each rule is a function of the whole document that raises MisfitError, or returns warnings. RULES is
the list of them in the order in which they are asked.
"""

from __future__ import annotations

from cloche.spec.shape import MisfitError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cloche.spec.config import Config, IDMapping, Linux, Process

    Rule = Callable[[Config], Iterable[str]]

_KNOWN_MINOR = 3
_LONGEST_HOST_NAME = 64  # HOST_NAME_MAX, in bytes
_ID_SPACE = 1 << 32

_CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT "
    "SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE "
    "AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ "
    "PERFMON BPF CHECKPOINT_RESTORE"
)
CAPABILITIES = frozenset(f"CAP_{name}" for name in _CAPABILITIES.split())


def _misfit(place: str, problem: str) -> MisfitError:
    return MisfitError(problem).within(f".{place}")


def _linux(config: Config) -> Linux:
    return config.get("linux", {})


def _namespaces(config: Config) -> dict[str, str]:
    """Types of the container's own namespaces, with the path of those to join."""
    return {n["type"]: n.get("path", "") for n in _linux(config).get("namespaces", ())}


def _version(config: Config) -> Iterable[str]:
    version = config["ociVersion"]
    numbers = version.partition("+")[0].partition("-")[0].split(".")
    if len(numbers) != 3 or not all(n.isascii() and n.isdigit() and len(n) < 10 for n in numbers):
        raise _misfit("ociVersion", f"{quoted(version)} is not a version such as 1.0.2")
    if numbers[0] != "1":
        raise _misfit("ociVersion", f"{quoted(version)} is not supported; 1.0.0 to 1.{_KNOWN_MINOR} are")
    if int(numbers[1]) > _KNOWN_MINOR:
        yield f"ociVersion: {quoted(version)} is newer than 1.{_KNOWN_MINOR}; what is new in it is ignored"


def _namespace_list(config: Config) -> Iterable[str]:
    seen = set()
    for index, namespace in enumerate(_linux(config).get("namespaces", ())):
        place = f"linux.namespaces[{index}]"
        if namespace["type"] in seen:
            raise _misfit(place, f"there is a {namespace['type']} namespace already")
        seen.add(namespace["type"])
        path = namespace.get("path", "")
        if path and not path.startswith("/"):
            raise _misfit(f"{place}.path", f"{quoted(path)} must be an absolute path")
    return ()


def _host_names(config: Config) -> Iterable[str]:
    for place in ("hostname", "domainname"):
        value = str(config.get(place, ""))
        if value and "uts" not in _namespaces(config):
            raise _misfit(place, "cannot be set: the container has no uts namespace of its own")
        if len(value.encode()) > _LONGEST_HOST_NAME:
            raise _misfit(place, f"is longer than {_LONGEST_HOST_NAME} bytes")
    return ()


def _check_mappings(place: str, mappings: list[IDMapping]) -> None:
    for side, ranges in (
        ("containerID", [(mapping["containerID"], mapping["size"]) for mapping in mappings]),
        ("hostID", [(mapping["hostID"], mapping["size"]) for mapping in mappings]),
    ):
        end = 0
        for first, size in sorted(ranges):
            if first < end:
                raise _misfit(place, f"two mappings share {side} {first}")
            end = first + size
            if end > _ID_SPACE:
                raise _misfit(place, f"goes past the last id: {size} from {side} {first} on")


def _user_namespace(config: Config) -> Iterable[str]:
    linux, namespaces = _linux(config), _namespaces(config)
    for place, mappings in (
        ("uidMappings", linux.get("uidMappings", [])),
        ("gidMappings", linux.get("gidMappings", [])),
    ):
        if mappings and "user" not in namespaces:
            raise _misfit(f"linux.{place}", "there is no user namespace in linux.namespaces to map ids of")
        if namespaces.get("user") == "" and not mappings:
            raise _misfit(f"linux.{place}", "must not be empty with a new user namespace")
        _check_mappings(f"linux.{place}", mappings)
    return ()


def _time_namespace(config: Config) -> Iterable[str]:
    offsets, namespaces = _linux(config).get("timeOffsets"), _namespaces(config)
    if not offsets:
        return
    for clock in offsets:
        if clock not in ("monotonic", "boottime"):
            raise _misfit(f"linux.timeOffsets[{quoted(clock)}]", "is not monotonic or boottime")
    if "time" not in namespaces:
        raise _misfit("linux.timeOffsets", "there is no time namespace in linux.namespaces")
    if namespaces["time"]:
        raise _misfit("linux.timeOffsets", "cannot be set in a time namespace that is joined")
    yield from ()


def _restricted_paths(config: Config) -> Iterable[str]:
    linux = _linux(config)
    for place in ("maskedPaths", "readonlyPaths"):
        if linux.get(place) and "mount" not in _namespaces(config):
            raise _misfit(f"linux.{place}", "needs a mount namespace in linux.namespaces")
    return ()


def _sysctls(config: Config) -> Iterable[str]:
    sysctls = _linux(config).get("sysctl")
    if sysctls:
        from cloche.spec import sysctl  # few containers have any

        try:
            sysctl.require_all_own(sysctls, _namespaces(config))
        except MisfitError as misfit:
            raise misfit.within(".sysctl").within(".linux") from None
    return ()


def _mounts(config: Config) -> Iterable[str]:
    for index, mount in enumerate(config.get("mounts", ())):
        if not mount["destination"].startswith("/"):
            shown = quoted(mount["destination"])
            yield f"mounts[{index}].destination: {shown} is not absolute; taken from /"
        uids, gids = mount.get("uidMappings", []), mount.get("gidMappings", [])
        if bool(uids) != bool(gids):
            raise _misfit(f"mounts[{index}]", "must have both uidMappings and gidMappings, or neither")
        _check_mappings(f"mounts[{index}].uidMappings", uids)
        _check_mappings(f"mounts[{index}].gidMappings", gids)


def _devices(config: Config) -> Iterable[str]:
    for index, device in enumerate(_linux(config).get("devices", ())):
        if device["type"] != "p" and not ("major" in device and "minor" in device):
            raise _misfit(f"linux.devices[{index}]", "needs major and minor")
    return ()


def _resources(config: Config) -> Iterable[str]:
    resources = _linux(config).get("resources", {})
    for index, rule in enumerate(resources.get("devices", ())):
        access = rule.get("access", "")
        if not access or access.strip("rwm"):
            place = f"linux.resources.devices[{index}].access"
            raise _misfit(place, f"{quoted(access)} must be one or more of r, w and m")
    for key in resources.get("unified", ()):
        if not key or "/" in key or key in (".", ".."):
            raise _misfit(f"linux.resources.unified[{quoted(key)}]", "must be the name of a cgroup file")
    if ".." in _linux(config).get("cgroupsPath", "").split("/"):
        raise _misfit("linux.cgroupsPath", "must not hold ..")
    return ()


def _net_devices(config: Config) -> Iterable[str]:
    devices = _linux(config).get("netDevices", {})
    if devices and "network" not in _namespaces(config):
        raise _misfit("linux.netDevices", "needs a network namespace in linux.namespaces")
    for key, device in devices.items():
        for word in (key, device.get("name") or key):
            # IFNAMSIZ counts the NUL at the end.
            if not word or len(word.encode()) > 15 or word in (".", "..") or set(word) & set("/: \t\n"):
                place = f"linux.netDevices[{quoted(key)}]"
                raise _misfit(place, f"{quoted(word)} is not the name of a network device")
    return ()


def _seccomp(config: Config) -> Iterable[str]:
    seccomp = _linux(config).get("seccomp")
    if seccomp is None:
        return ()
    if seccomp["defaultAction"] == "SCMP_ACT_NOTIFY":
        raise _misfit("linux.seccomp.defaultAction", "SCMP_ACT_NOTIFY cannot be what happens by default")
    for index, rule in enumerate(seccomp.get("syscalls", ())):
        # The runtime itself writes to the listener's socket after the filter is loaded.
        if rule["action"] == "SCMP_ACT_NOTIFY" and "write" in rule["names"]:
            raise _misfit(f"linux.seccomp.syscalls[{index}]", "SCMP_ACT_NOTIFY cannot be used for write")
    return ()


def _working_directory(process: Process) -> None:
    if not process["cwd"].startswith("/"):
        shown = quoted(process["cwd"])
        raise _misfit("cwd", f"{shown} must be an absolute path" if process["cwd"] else "must not be empty")


def _rlimits(process: Process) -> None:
    seen = set()
    for index, limit in enumerate(process.get("rlimits", ())):
        if limit["type"] in seen:
            raise _misfit(f"rlimits[{index}]", f"there is a {limit['type']} already")
        seen.add(limit["type"])
        if limit["soft"] > limit["hard"]:
            raise _misfit(f"rlimits[{index}].soft", f"{limit['soft']} is above hard, {limit['hard']}")


def _environment(process: Process) -> None:
    for index, variable in enumerate(process.get("env", ())):
        if "=" not in variable or variable[0] == "=":
            raise _misfit(f"env[{index}]", f"{quoted(variable)} must be NAME=VALUE")


def _scheduling(process: Process) -> None:
    scheduler = process.get("scheduler")
    if scheduler is None:
        return
    policy = scheduler["policy"]
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and not -20 <= scheduler.get("nice", 0) <= 19:
        raise _misfit("scheduler.nice", f"must be a number from -20 to 19 with {policy}")
    if scheduler.get("priority") and policy not in ("SCHED_FIFO", "SCHED_RR"):
        raise _misfit("scheduler.priority", f"is for SCHED_FIFO and SCHED_RR, not for {policy}")
    if policy != "SCHED_DEADLINE":
        for member in ("runtime", "deadline", "period"):
            if scheduler.get(member):
                raise _misfit(f"scheduler.{member}", f"is for SCHED_DEADLINE, not for {policy}")


def _capabilities(process: Process) -> Iterable[str]:
    wanted: set[str] = set()
    sets = process.get("capabilities", {})
    wanted.update(sets.get("bounding", ()), sets.get("effective", ()), sets.get("permitted", ()))
    wanted.update(sets.get("inheritable", ()), sets.get("ambient", ()))
    unknown = sorted(wanted - CAPABILITIES)
    if unknown:
        yield f"process.capabilities: ignoring unknown {', '.join(map(quoted, unknown))}"


def process_rules(process: Process) -> list[str]:
    """The rules that concern a process alone, for exec's process too; places are relative to it."""
    if not process["args"]:
        raise _misfit("args", "must not be empty")
    _working_directory(process)
    _rlimits(process)
    _environment(process)
    _scheduling(process)
    return list(_capabilities(process))


def _process(config: Config) -> Iterable[str]:
    try:
        return process_rules(config["process"])
    except MisfitError as misfit:
        raise misfit.within(".process") from None


RULES: tuple[Rule, ...] = (
    _version,
    _process,
    _namespace_list,
    _host_names,
    _user_namespace,
    _time_namespace,
    _mounts,
    _restricted_paths,
    _sysctls,
    _devices,
    _resources,
    _net_devices,
    _seccomp,
)
