"""What the compiler of a plan must know besides the configuration, gathered by the lifecycle."""

from __future__ import annotations

from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.runtime.caller import EntersStageOne


class Hierarchy(Record):
    """One cgroup v1 hierarchy as a container sees it below its /sys/fs/cgroup.

    name: the directory (`cpu,cpuacct`); options: what its filesystem is mounted with;
    path: the container's own cgroup on the host.
    """

    name: str
    options: tuple[str, ...]
    path: str


class CgroupFacts(Record):
    """Where the container's process goes, and what a cgroup mount shows.

    tasks: v1 files to write 0 to. unified: cgroup2 directory to be born in, or empty.
    hierarchies: of v1, empty on a unified machine. tree: where the host has cgroup2 mounted, or empty.
    entrance: what puts stage one into the cgroup before it clones, where that is not the clone's affair.
    few_pids: a `pids.max` and its value that come after the clone, as they would have forbidden it.
    moved: nobody can be born there, so the caller moves the process (see plan_namespaces.is_moved).
    """

    tasks: tuple[str, ...] = ()
    unified: str = ""
    hierarchies: tuple[Hierarchy, ...] = ()
    tree: str = ""
    entrance: EntersStageOne | None = None
    few_pids: tuple[str, int] | None = None
    moved: bool = False


class Listener(Record):
    """Who answers the system calls that a seccomp filter notifies.

    path: the agent's socket. metadata: words for it. state: the container's state, as JSON.
    """

    path: str
    metadata: str
    state: bytes


class Facts(Record):
    """The rest of the world as a plan needs it.

    id: the container's. bundle: absolute path, for relative ones in the configuration.
    rootfs_given: the rootfs is a descriptor lent under the slot `rootfs`, not a path.
    filter_program, filter_flags: the compiled seccomp filter, empty without one.
    listener: who gets that filter's listener, None where it has none.
    gate: directory that holds the start and result fifos, empty to execute at once.
    home: HOME of the user, for an environment that lacks it; empty leaves it out.
    user_namespace: the process will live in a user namespace that is not ours.
    pivot: pivot_root(2) rather than chroot(2). keyring: a session keyring of its own.
    rootless: the caller is not the host's root. unprivileged: nor that of a user namespace.
    selinux: the kernel enforces or audits SELinux labels, which file systems then take.
    root_of: for an exec, the pid whose root is no mount namespace's, 0 where it is.
    borrowed_proc: an exec writes labels through the caller's procfs (see plan_namespaces.borrows_proc).
    resctrl: the file system of Intel's resource director is mounted.
    """

    bundle: str
    cgroups: CgroupFacts
    id: str = ""
    rootfs_given: bool = False
    filter_program: bytes = b""
    filter_flags: int = 0
    listener: Listener | None = None
    gate: str = ""
    home: str = ""
    user_namespace: bool = False
    pivot: bool = True
    keyring: bool = True
    selinux: bool = False
    rootless: bool = False
    unprivileged: bool = False
    resctrl: bool = False
    borrowed_proc: bool = False
    root_of: int = 0
