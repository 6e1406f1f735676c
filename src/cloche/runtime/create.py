"""Create a container, or one more process in it: gather facts, compile, execute, write down.

Whatever fails, nothing is left: the undo of each step is pushed right after the step.
"""

from __future__ import annotations

import os

from cloche.errors import FailedPrecondition
from cloche.kernel import passwd
from cloche.kernel.cgroups.cgroup import Cgroup
from cloche.kernel.cgroups.layout import layout
from cloche.runtime.caller import Performing
from cloche.runtime.compile import compile_create, compile_exec
from cloche.runtime.container import Container, Process
from cloche.runtime.execute import Started, execute
from cloche.runtime.facts import CgroupFacts, Facts, Hierarchy
from cloche.runtime.plan_namespaces import KINDS, PROC_NAMES, delegate_of, wanted
from cloche.runtime.state import FILTERS, Folder, State, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.runtime.trace import Trace
    from cloche.spec.config import Config
    from cloche.spec.config import Process as ProcessConfig


def create(
    root: str,
    container_id: str,
    config: Config,
    *,
    bundle: str,
    rootfs: int | None = None,
    stdio: tuple[int, int, int] = (0, 1, 2),
    preserve_fds: int = 0,
    gate: bool = True,
    pivot: bool = True,
    keyring: bool = True,
    warnings: list[str] | None = None,
    trace: Trace | None = None,
    prepare: Callable[[str], None] | None = None,
) -> tuple[Container, Process]:
    """Make a container.

    root: folder of all containers' states. config: validated. bundle: absolute; relative paths in
    the configuration count from it. rootfs: a detached mount (kernel.mounts.assemble) instead of
    root.path, borrowed. stdio: what becomes descriptors 0, 1, 2, borrowed. preserve_fds: how many
    from 3 on go along. gate: wait for `Container.start`; without it the program runs at once.
    pivot: pivot_root(2) rather than chroot(2). keyring: a session keyring of the container's own.
    warnings: gets a line for each system call of the filter that is not known here.
    trace: gets the times of all operations. prepare: called with the folder of the container's state
    when the id is ours and nothing of the plan was done.
    Raises AlreadyExists, and whatever an operation of the plan met, named by its place.
    """
    cgroup = Cgroup.plan(layout(), config.get("linux", {}).get("cgroupsPath") or container_id)
    rootfs_path = "" if rootfs is not None else os.path.join(bundle, config["root"]["path"])
    state = State(container_id, bundle, os.path.normpath(rootfs_path or "/"), now(), cgroup.paths)
    folder = Folder(root, container_id)
    with folder.make(config, state):
        try:
            if prepare:
                prepare(folder.path)
            _make_cgroup(cgroup, config)
            compiled = _filter(root, config, warnings)
            facts = gather(config, cgroup, compiled, bundle=bundle, rootfs=rootfs)
            facts = facts.replace(id=container_id, pivot=pivot, keyring=keyring)
            facts = with_listener(facts, config, "creating")
            if gate:
                folder.make_gate()
                facts = facts.replace(gate=folder.path)
            with Performing(trace) as performing:
                if rootfs is not None:
                    performing.lend("rootfs", rootfs)
                plan = compile_create(config, facts)
                started = execute(plan, performing, stdio=stdio, preserve_fds=preserve_fds)
            state = state.with_process(started.pid).replace(late_steps=plan.late_steps())
            folder.write(state)
        except BaseException:
            if cgroup.exists():
                cgroup.destroy()
            folder.remove()
            raise
    container = Container(root, folder, state)
    if not gate:
        container.run_poststart_hooks()
    return container, Process(started)


def _make_cgroup(cgroup: Cgroup, config: Config) -> None:
    rootless = os.geteuid() != 0
    place = "linux.cgroupsPath"
    try:
        cgroup.make(rootless=rootless)
        place = "linux.resources"
        cgroup.apply(config.get("linux", {}).get("resources", {}), rootless=rootless)
        place = "linux.namespaces cgroup"
        owner = delegate_of(config)
        if owner and not rootless:
            cgroup.delegate(owner)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise FailedPrecondition(f"config.json: {place}: {where}{error.strerror}") from None


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


def gather(
    config: Config, cgroup: Cgroup, compiled: tuple[bytes, int], *, bundle: str, rootfs: int | None
) -> Facts:
    """The facts for a new container. compiled: the seccomp filter and its flags."""
    program, flags = compiled
    return Facts(
        bundle=bundle,
        cgroups=cgroup_facts(cgroup),
        rootfs_given=rootfs is not None,
        filter_program=program,
        filter_flags=flags,
        home=_home_before(config, bundle, rootfs),
        user_namespace="user" in wanted(config),
        selinux=os.path.exists("/sys/fs/selinux/enforce"),
        resctrl=os.path.exists("/sys/fs/resctrl/schemata"),
    )


def _filter(root: str, config: Config, warnings: list[str] | None = None) -> tuple[bytes, int]:
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


def execute_in(
    container: Container,
    process: ProcessConfig,
    *,
    stdio: tuple[int, int, int],
    preserve_fds: int,
    cgroup: Cgroup,
) -> Started:
    """Run one more process in a container that runs; its lock is held by the caller.

    cgroup: the container's, or cgroups below it.
    """
    if wanted(container.config).get("mount") != "":
        raise FailedPrecondition(
            f"cannot exec in container {container.id!r}: it has no mount namespace of its own to enter"
        )
    pidfd = container.stored.open_process()
    if pidfd is None:
        raise FailedPrecondition(f"cannot exec in a stopped container: {container.id!r}")
    try:
        program, flags = _filter(container.root, container.config)
        facts = Facts(
            id=container.id,
            bundle=container.bundle,
            cgroups=cgroup_facts(cgroup, container.pid),
            filter_program=program,
            filter_flags=flags,
            home=_home_inside(container, process),
            user_namespace="user" in wanted(container.config),
        )
        facts = with_listener(facts, container.config, container.status(), container.pid)
        with Performing() as performing:
            performing.lend("process", pidfd)
            plan = compile_exec(process, facts, _different_namespaces(container.pid))
            return execute(plan, performing, stdio=stdio, preserve_fds=preserve_fds)
    finally:
        os.close(pidfd)


def _home_inside(container: Container, process: ProcessConfig) -> str:
    if not _needs_home(process):
        return ""
    root = os.open(f"/proc/{container.pid}/root", os.O_PATH | os.O_CLOEXEC)
    try:
        return passwd.home(root, process.get("user", {}).get("uid", 0))
    finally:
        os.close(root)


def _different_namespaces(pid: int) -> int:
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
