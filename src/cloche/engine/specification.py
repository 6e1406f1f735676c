"""From an image's config and the user's settings to config.json, as Docker would write it.

`build` is pure apart from what the kernel of this machine says about itself: whoever calls it has
settled names, files and volumes already (`Facts`).
"""

from __future__ import annotations

import os

from cloche.engine import capabilities, devices, mounts, namespaces, program, resources, security
from cloche.kernel.passwd import Identity
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cloche.engine.options import Options
    from cloche.spec.config import Capabilities, Config, Linux, Process, Seccomp, User
    from cloche.spec.image_config import ImageConfig

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OCI_VERSION = "1.0.2"
_SHORT_ID = 12

_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


ROOT = Identity(0, 0, (), "/", "root")


class Facts(Record):
    """What is known about the container beside its image and settings.

    files: host paths of its /etc files (`mounts.FILES`). places: user mounts with settled sources.
    pids: a process of each container whose namespace is joined, by option. swap: the kernel
    accounts swap. reaper: host path of the program that `--init` makes process 1.
    """

    container_id: str
    identity: Identity = ROOT
    files: Mapping[str, str] = {}
    places: tuple[mounts.Place, ...] = ()
    pids: Mapping[str, int] = {}
    shm_source: str = ""
    swap: bool = True
    bundle_root: str = "rootfs"
    reaper: str = ""


def build(image: ImageConfig, options: Options, facts: Facts) -> Config:
    """The container's config.json. Raises InvalidArgument naming the setting that is wrong."""
    settings = security.parse(options.security_opt)
    held = capabilities.choose(options.cap_add, options.cap_drop, privileged=options.privileged)
    config: Config = {
        "ociVersion": OCI_VERSION,
        "process": _process(image, options, facts, settings, held),
        "root": {"path": facts.bundle_root, "readonly": options.read_only},
        "mounts": mounts.build(
            options, facts.places, facts.files, shm_source=facts.shm_source, reaper=facts.reaper
        ),
        "linux": _linux(options, facts, settings, held),
    }
    if namespaces.mode(options, "uts") == "private":
        config["hostname"] = hostname(options, facts.container_id)
        if options.domainname:
            config["domainname"] = options.domainname
    if options.annotations:
        config["annotations"] = dict(options.annotations)
    return config


def hostname(options: Options, container_id: str) -> str:
    """The container's host name: as asked, the host's with the host's network, else its short id."""
    if options.hostname:
        return options.hostname
    shared = "host" in (namespaces.mode(options, "network"), namespaces.mode(options, "uts"))
    return os.uname().nodename if shared else container_id[:_SHORT_ID]


def environment(image: ImageConfig, options: Options, facts: Facts) -> list[str]:
    """process.env: what every container has, then the image's, then the user's; the last wins."""
    variables = {"PATH": PATH, "HOSTNAME": hostname(options, facts.container_id)}
    if options.tty:
        variables["TERM"] = "xterm"
    for entry in (*image.env, *options.env):
        name, equals, value = entry.partition("=")
        if equals:
            variables[name] = value
        else:
            variables.pop(name, None)
    variables.setdefault("HOME", facts.identity.home)
    return [f"{name}={value}" for name, value in variables.items()]


def check_sysctls(options: Options) -> None:
    """Refuse kernel parameters that are the host's and not this container's. Raises InvalidArgument."""
    if not options.sysctls:
        return
    from cloche.spec import sysctl
    from cloche.spec.shape import MisfitError

    joined = dict.fromkeys(namespaces.joined(options), 0)
    own = [each["type"] for each in namespaces.build(options, joined) if "path" not in each]
    try:
        sysctl.require_all_own(options.sysctls, own)
    except MisfitError as misfit:
        raise misfit.refusal("sysctl") from None


def _process(
    image: ImageConfig,
    options: Options,
    facts: Facts,
    settings: security.Security,
    held: tuple[str, ...],
) -> Process:
    who = facts.identity
    process: Process = {
        "terminal": options.tty,
        "user": process_user(who),
        "args": [*((mounts.REAPER, "--") if options.init else ()), *program.command(image, options)],
        "env": environment(image, options, facts),
        "cwd": program.working_directory(image, options),
        "capabilities": process_capabilities(held, who.uid),
        "noNewPrivileges": settings.no_new_privileges,
    }
    limits = resources.rlimits(options)
    if limits:
        process["rlimits"] = limits
    if options.oom_score_adj is not None:
        process["oomScoreAdj"] = options.oom_score_adj
    if settings.apparmor:
        process["apparmorProfile"] = settings.apparmor
    return process


def process_user(who: Identity) -> User:
    """process.user. The group itself is among the further ones (CVE-2022-36109: else it is dropped)."""
    groups = dict.fromkeys((who.gid, *who.additional_gids))
    return {"uid": who.uid, "gid": who.gid, "additionalGids": list(groups)}


def process_capabilities(held: tuple[str, ...], uid: int) -> Capabilities:
    """The five sets of a process: another user than root can gain them by exec only, as Docker has it.

    Nothing is inheritable or ambient (CVE-2022-24769: inheritable ones reached file capabilities).
    """
    names = list(held)
    sets: Capabilities = {"bounding": names, "effective": [], "permitted": []}
    if uid == 0:
        sets["effective"], sets["permitted"] = list(names), list(names)
    return sets


def _linux(options: Options, facts: Facts, settings: security.Security, held: tuple[str, ...]) -> Linux:
    nodes, rules = devices.build(options)
    linux: Linux = {
        "resources": resources.resources(options, rules, swap=facts.swap),
        "cgroupsPath": cgroups_path(options, facts.container_id),
        "namespaces": namespaces.build(options, facts.pids),
    }
    propagation = mounts.root_propagation(facts.places)
    if propagation:
        linux["rootfsPropagation"] = propagation
    if options.sysctls:
        linux["sysctl"] = dict(options.sysctls)
    if nodes:
        linux["devices"] = nodes
    mappings = namespaces.id_mappings(options)
    if mappings:
        linux["uidMappings"], linux["gidMappings"] = mappings, list(mappings)
    profile = _seccomp(options, settings, held)
    if profile is not None:
        linux["seccomp"] = profile
    if settings.hide_paths and not options.privileged:
        linux["maskedPaths"], linux["readonlyPaths"] = masked_paths(), list(READONLY)
    return linux


def cgroups_path(options: Options, container_id: str) -> str:
    """linux.cgroupsPath: one directory a container at the top, or below `--cgroup-parent`.

    Without a parent of its own nothing is left behind that two engines would have to share.
    """
    if options.cgroup_parent:
        return os.path.normpath(f"/{options.cgroup_parent}/{container_id}").replace("//", "/")
    return f"/cloche-{container_id}"


_masked: list[str] = []


def masked_paths() -> list[str]:
    """linux.maskedPaths: Docker's, with the thermal counters of each processor that has them."""
    if not _masked:
        _masked.extend(_MASKED)
        base = "/sys/devices/system/cpu"
        found = (f"{base}/{name}/thermal_throttle" for name in sorted(os.listdir(base)) if name[3:].isdigit())
        _masked.extend(path for path in found if os.path.exists(path))
    return list(_masked)


_profiles: dict[tuple[str, tuple[str, ...]], Any] = {}


def _seccomp(options: Options, settings: security.Security, held: tuple[str, ...]) -> Seccomp | None:
    """The filter; one object for one policy, so that whoever caches what follows from it can."""
    wanted = settings.seccomp
    if options.privileged and wanted == security.DEFAULT:
        return None
    if wanted == security.UNCONFINED:
        return None
    key = (wanted, held)
    if key not in _profiles:
        from cloche.engine import seccomp_profile

        if wanted == security.DEFAULT:
            _profiles[key] = seccomp_profile.default(held)
        else:
            from cloche.spec.document import loads

            _profiles[key] = seccomp_profile.resolve(loads(wanted, "seccomp profile"), held)
    profile: Seccomp = _profiles[key]
    return profile
