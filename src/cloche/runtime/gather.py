"""Gather what the compiler of a plan must know besides the configuration: look, and change nothing."""

from __future__ import annotations

from cloche import os
from cloche.kernel import passwd
from cloche.kernel.cgroups.layout import layout
from cloche.runtime.facts import CgroupFacts, Facts, Hierarchy
from cloche.runtime.plan_namespaces import KINDS, PROC_NAMES, is_moved, wanted
from cloche.runtime.state import FILTERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.kernel.cgroups.cgroup import Cgroup
    from cloche.spec.config import Config
    from cloche.spec.config import Process as ProcessConfig

_ALL_IDS = [b"0", b"0", b"4294967295"]


def cgroup_facts(cgroup: Cgroup, beside: int = 0) -> CgroupFacts:
    """Where a process enters, and what the hierarchies are called.

    beside: pid of the container's first process, where there is one already.
    """
    hierarchies = tuple(
        Hierarchy(
            os.path.basename(h.mountpoint), _mount_options(h.controllers), cgroup.paths[h.controllers[0]]
        )
        for h in layout().legacy
        if h.controllers[0] in cgroup.paths
    )
    entrance = cgroup.entrance(beside) if beside else cgroup.unified_directory()
    unified = layout().unified
    tree = unified.mountpoint if unified else ""
    return CgroupFacts(tuple(cgroup.task_files()), entrance or "", hierarchies, tree)


def _mount_options(controllers: tuple[str, ...]) -> tuple[str, ...]:
    """What the filesystem `cgroup` is mounted with: a named hierarchy has no controllers."""
    named = controllers[0].startswith("name=")
    return ("none", *controllers) if named else controllers


def is_rootless() -> bool:
    """Whether this process lacks the privileges of the host's root: another user, or a namespace's root."""
    if os.geteuid() != 0:
        return True
    descriptor = os.open("/proc/self/uid_map", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096).split() != _ALL_IDS
    finally:
        os.close(descriptor)


def gather(
    config: Config, cgroup: Cgroup, compiled: tuple[bytes, int], *, bundle: str, rootfs: int | None
) -> Facts:
    """The facts for a new container. compiled: the seccomp filter and its flags."""
    program, flags = compiled
    return Facts(
        bundle=bundle,
        cgroups=cgroup_facts(cgroup).replace(moved=is_moved(config)),
        rootfs_given=rootfs is not None,
        rootless=is_rootless(),
        unprivileged=os.geteuid() != 0,
        filter_program=program,
        filter_flags=flags,
        home=_home_before(config, bundle, rootfs),
        user_namespace="user" in wanted(config),
        selinux=os.path.exists("/sys/fs/selinux/enforce"),
        resctrl=os.path.exists("/sys/fs/resctrl/schemata"),
    )


def compiled_filter(root: str, config: Config, warnings: list[str] | None = None) -> tuple[bytes, int]:
    """The seccomp program and its flags, empty without a profile; `warnings` gets what nobody knows."""
    profile = config.get("linux", {}).get("seccomp")
    if not profile:
        return b"", 0
    from cloche.kernel import filter_cache

    return filter_cache.cached(profile, os.path.join(root, FILTERS), warnings)


def with_listener(facts: Facts, config: Config, status: str, pid: int = 0) -> Facts:
    """Add who answers for a filter that notifies; most do not."""
    if not facts.filter_flags:
        return facts
    from cloche.runtime.notify import listener

    flags, bundle = facts.filter_flags, facts.bundle
    return facts.replace(listener=listener(config, flags, facts.id, bundle=bundle, status=status, pid=pid))


def _needs_home(process: ProcessConfig) -> bool:
    return not any(variable.startswith("HOME=") for variable in process.get("env", ()))


def _home_before(config: Config, bundle: str, rootfs: int | None) -> str:
    """HOME from the image's /etc/passwd, reached through the rootfs's descriptor."""
    process = config["process"]
    if not _needs_home(process):
        return ""
    uid = process.get("user", {}).get("uid", 0)
    if rootfs is not None:
        return passwd.home(rootfs, uid)
    try:
        directory = os.open(os.path.join(bundle, config["root"]["path"]), os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return ""  # the plan's first operation says what is wrong with the rootfs
    try:
        return passwd.home(directory, uid)
    finally:
        os.close(directory)


def home_inside(pid: int, process: ProcessConfig) -> str:
    """HOME for one more process of a container whose first one is `pid`; empty where it is given."""
    if not _needs_home(process):
        return ""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_CLOEXEC)
    try:
        return passwd.home(root, process.get("user", {}).get("uid", 0))
    finally:
        os.close(root)


def different_namespaces(pid: int) -> int:
    """CLONE_NEW* of what the container has of its own; joining one's own user namespace is EINVAL."""
    kinds = 0
    for kind, name in PROC_NAMES.items():
        try:
            theirs, ours = os.stat(f"/proc/{pid}/ns/{name}"), os.stat(f"/proc/self/ns/{name}")
        except FileNotFoundError:
            continue  # this kernel has no such namespaces, or the process has just ended: joining it says so
        if theirs.st_ino != ours.st_ino:
            kinds |= KINDS[kind]
    return kinds
