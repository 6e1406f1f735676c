"""Every kernel operation that a plan can hold: the one source of the table.

A class here is an operation that cloche-init executes; its annotations are the arguments. The C
header is generated from this module when the wheel is built, so the two cannot disagree, and a
plan carries `fingerprint()` so that an init of another build refuses it.

Argument types: int (signed, 64 bits), str, bytes, tuple[str, ...], and Slot: the name of a
descriptor that the caller opens before the start and that init receives by SCM_RIGHTS.

Paths are absolute as seen in the container. They are resolved below the root with
openat2(RESOLVE_IN_ROOT), so that a symlink planted in an image cannot lead to the host (the class
of CVE-2021-30465, CVE-2019-19921, CVE-2025-52881).
"""

from __future__ import annotations

from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

_LARGEST_PRIME = (1 << 32) - 5  # of those below 2 to the power of 32

Slot = str
"""The name of a descriptor; empty where an operation can do without."""


class Operation(Record):
    """Base of all operations."""

    code: ClassVar[int] = 0
    table: ClassVar[list[type[Operation]]] = []

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Operation.table.append(cls)
        cls.code = len(Operation.table)

    def describe(self) -> str:
        """One line for people: the operation's name, and its arguments but for those that say nothing."""
        words = [_words(self.__class__.__name__)]
        for name, value in zip(self._fields, self.values(), strict=True):
            if value or name in ("uid", "gid"):
                words.append(f"{name}={_shown(name, value)}")
        return " ".join(words)


_OCTAL = ("mode", "mask", "kind")
_HEXADECIMAL = (
    *("attributes", "set", "clear", "set_all", "clear_all", "propagation"),
    *("namespaces", "kinds", "keep", "effective", "permitted", "inheritable", "ambient"),
)


def _shown(name: str, value: object) -> str:
    """A value as its readers know it: modes in octal, sets of flags in hexadecimal."""
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, int) and name in _OCTAL:
        return f"{value:#o}"
    if isinstance(value, int) and name in _HEXADECIMAL:
        return f"{value:#x}"
    return repr(value)


def _words(name: str) -> str:
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def fingerprint() -> int:
    """A number of 32 bits that changes with every change of the table."""
    lines = (f"{kind.__name__}{sorted(kind._field_types.items())}" for kind in Operation.table)
    # The remainder by a prime: what has functions for it is a library to load, in every command.
    return int.from_bytes("\n".join(lines).encode(), "big") % _LARGEST_PRIME


# --- stage one: host credentials ------------------------------------------------------------------


class SetOomScore(Operation):
    """Write /proc/self/oom_score_adj of the host's procfs; children inherit it.

    Here and not in the container, since lowering it needs CAP_SYS_RESOURCE in the first user
    namespace.
    """

    score: int
    # A lower score than we may set is no error when the container is rootless (as runc has it).
    optional: int


class SetTimeOffsets(Operation):
    """unshare(2) of a time namespace and its offsets, which must be there before anyone enters it.

    offsets: lines of "clock seconds nanoseconds" for /proc/self/timens_offsets.
    """

    offsets: str


class ForbidDumps(Operation):
    """PR_SET_DUMPABLE 0: until execve nobody inside may read the process's memory or descriptors."""


class CopyFound(Operation):
    """open_tree(2) with OPEN_TREE_CLONE of what the caller opened, in the caller's mount namespace.

    The copy takes the place of the descriptor in the slot.
    """

    tree: Slot
    recursive: int


class JoinNamespace(Operation):
    """setns(2). With `deferrable`, EPERM means: try again after the user namespace was joined."""

    namespace: Slot
    kind: int
    deferrable: int


class RetryJoins(Operation):
    """setns(2) of the namespaces that could not be joined with the host's credentials."""


class JoinProcess(Operation):
    """setns(2) of a pidfd: all the kernel namespaces of `kinds` at once."""

    process: Slot
    kinds: int


class BecomeRoot(Operation):
    """setresgid(0,0,0), setresuid(0,0,0): the identity that owns what is made in a user namespace."""


class CloneProcess(Operation):
    """clone3(2) of the container's process as the caller's child; the end of stage one.

    CLONE_PARENT, so that the caller is its parent, which allows no exit signal but 0. `cgroup`: a
    cgroup2 directory to be born in (CLONE_INTO_CGROUP).
    """

    namespaces: int
    cgroup: Slot


# --- stage two: the container's process until it executes the program ------------------------------


class EnterCgroup(Operation):
    """Write 0 to a cgroup v1 `tasks` file opened by the caller.

    A single-threaded process that moves itself does not wait for the RCU grace period that a write
    of another's pid, or any write to cgroup.procs, waits for (12 to 15 ms).
    """

    tasks: Slot


class UnshareNamespaces(Operation):
    """unshare(2), for what must come after the cgroups were entered."""

    namespaces: int


class AwaitCaller(Operation):
    """Tell the caller that its next operations are due, and wait until they are done."""


class LendNetlink(Operation):
    """Open a netlink socket of our network namespace, give it to the caller, and wait as AwaitCaller does.

    So the caller works in the container's namespace without ever entering it.
    """


class NewSession(Operation):
    """setsid(2)."""


class BringUpLoopback(Operation):
    """Set IFF_UP on `lo` of a new network namespace."""


class JoinKeyring(Operation):
    """keyctl(2) KEYCTL_JOIN_SESSION_KEYRING: a keyring of the container's own.

    Left where the kernel has no keyrings or a filter forbids them.
    """

    name: str


class SetPropagation(Operation):
    """mount_setattr(2) of the propagation of everything mounted at or below /."""

    propagation: int
    recursive: int


class OpenProc(Operation):
    """fsopen(2) of a procfs of our own, before any mount of the configuration.

    All writes to sysctls go through it, so that nothing mounted over /proc in the container can
    divert them (CVE-2019-16884, CVE-2025-52881).
    """


class UseProc(Operation):
    """The caller's procfs instead of our own, which the owner of our pid namespace alone could mount.

    Sysctls are those of the process that writes them, whichever procfs it uses.
    """

    proc: Slot


class CopyTree(Operation):
    """open_tree(2) with OPEN_TREE_CLONE of a path of the host, in this mount namespace.

    The copy takes the place of the descriptor in the slot, which only opened that path. For callers
    who may not copy trees themselves: see plan_rootless.
    """

    tree: Slot
    source: str
    recursive: int


class AttachRoot(Operation):
    """Attach the detached rootfs; from here on paths are resolved below it."""

    rootfs: Slot
    propagation: int


class CloneRoot(Operation):
    """open_tree(2) of the rootfs, to be the container's root as it is, attached nowhere.

    For a container in a mount namespace that is not its own. path: of the rootfs in that namespace.
    """

    path: str


class OpenRoot(Operation):
    """Paths are resolved below /, the container's root which was joined."""


class NewMount(Operation):
    """fsopen(2), fsconfig(2), fsmount(2), move_mount(2): a new filesystem at `target`.

    options: `key` or `key=value`. attributes: MOUNT_ATTR_*. keep_mode: its root gets the permissions
    of the directory that it covers, where there is one.
    """

    filesystem: str
    source: str
    target: str
    options: tuple[str, ...]
    attributes: int
    keep_mode: int = 0


class RequestMounts(Operation):
    """Ask the caller for detached mounts, which the next AttachMounts receive.

    Mounts are listed in the order in which they were made: what is to stand after one of stage
    two's own may only be made now, and by the caller, who has the host's rights and paths.
    """


class AttachMount(Operation):
    """move_mount(2) of a detached mount of the caller's, its target made if missing.

    mount: empty for the next one that was requested.
    propagation first, `set` and `clear` on its root, `set_all` and `clear_all` on all below too.
    """

    mount: Slot
    target: str
    propagation: int
    set: int
    clear: int
    set_all: int
    clear_all: int


class ChangeMount(Operation):
    """mount_setattr(2) of what is mounted at `target`."""

    target: str
    set: int
    clear: int
    propagation: int
    recursive: int


class MakeDirectory(Operation):
    """mkdir(2) of a directory and what is missing above it."""

    path: str
    mode: int


class MakeDevice(Operation):
    """mknod(2), chown(2), chmod(2); what stood there is replaced. kind: S_IFCHR, S_IFBLK or S_IFIFO."""

    path: str
    kind: int
    mode: int
    major: int
    minor: int
    uid: int
    gid: int


class MakeSymlink(Operation):
    """symlink(2); what exists is left."""

    content: str
    path: str


class OpenConsole(Operation):
    """A pty of the container's own devpts as descriptors 0, 1 and 2 and the controlling terminal.

    The peer is opened by TIOCGPTPEER and never by name. The master goes to the caller. With `bind`
    the peer is also mounted on /dev/console. columns and rows: 0 leaves the kernel's.
    """

    bind: int
    columns: int
    rows: int
    uid: int


class PivotRoot(Operation):
    """pivot_root(2) onto the rootfs; the old root is detached and gone."""


class EnterRoot(Operation):
    """chroot(2) onto the rootfs where it cannot be pivoted to (a ramfs as root, `--no-pivot`).

    The old root is covered, not gone: a process that keeps CAP_SYS_CHROOT can get back to it.
    """


class EnterTree(Operation):
    """chroot(2) onto the root of another process, whose mounts are attached to no mount namespace.

    Paths are resolved below it then. root: opened by the caller through /proc/PID/root.
    """

    root: Slot


class RunHook(Operation):
    """Execute a hook as a child and wait for it, at most `timeout_s` seconds (0: no limit).

    Its standard input is the container's state: `state`, our pid as seen here, `state_rest`.
    A hook that fails or takes too long fails the create or the start.
    """

    path: str
    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    state: str
    state_rest: str
    timeout_s: int


class SetHostname(Operation):
    """sethostname(2)."""

    name: str


class SetDomainname(Operation):
    """setdomainname(2)."""

    name: str


class WriteSysctl(Operation):
    """Write one file below sys/ of our own procfs."""

    path: str
    value: str


class WriteAttribute(Operation):
    """Write a security module's attribute of this process through our own procfs (CVE-2019-16884)."""

    path: str
    value: str


class MaskPath(Operation):
    """Hide a path: the null device over a file, an empty read-only tmpfs over a directory.

    What does not exist is left alone. `null` is verified to be the null device (CVE-2025-31133).
    """

    path: str
    null: Slot


class ProtectPath(Operation):
    """Bind a path onto itself, read-only. What does not exist is left alone."""

    path: str


class ReopenNull(Operation):
    """Descriptors 0, 1, 2 that are the host's /dev/null become the container's."""


class OwnStdio(Operation):
    """fchown(2) of descriptors 0, 1, 2 to the user, so that /dev/stdout can be opened again."""

    uid: int


class SetPersonality(Operation):
    """personality(2)."""

    persona: int


class SetIoPriority(Operation):
    """ioprio_set(2) of this process. priority: class << 13 | level."""

    priority: int


class SetScheduler(Operation):
    """sched_setattr(2). attributes: a struct sched_attr."""

    attributes: bytes


class SetMemoryPolicy(Operation):
    """set_mempolicy(2). nodes: bit mask in native longs."""

    mode: int
    nodes: bytes


class SetAffinity(Operation):
    """sched_setaffinity(2). processors: bit mask in native longs, of any size."""

    processors: bytes


class SetLimit(Operation):
    """prlimit64(2) of ourselves; soft and hard in the resource's own unit."""

    resource: int
    soft: int
    hard: int


class DropBounding(Operation):
    """PR_CAPBSET_DROP of every capability that is not in the mask."""

    keep: int


class SetGroups(Operation):
    """setgroups(2). gids: native 32-bit integers. Refused inside a user namespace without a map: left."""

    gids: bytes
    optional: int


class SetUser(Operation):
    """setresgid(2), setresuid(2), with the permitted capabilities kept."""

    uid: int
    gid: int


class SetCapabilities(Operation):
    """capset(2) and the ambient set."""

    effective: int
    permitted: int
    inheritable: int
    ambient: int


class SetUmask(Operation):
    """umask(2)."""

    mask: int


class ChangeDirectory(Operation):
    """chdir(2), after which getcwd(2) must lie below the root (CVE-2024-21626).

    Done twice, before and after the user changes: with `deferrable` a refusal is left to the
    second, which does nothing after a success. So a directory that only root may enter will do,
    and one that only the user may enter (root squashed on NFS) will too.
    """

    path: str
    deferrable: int


class FindProgram(Operation):
    """Choose the first of the candidates that can be executed, with the user's credentials.

    ENOENT when there is none, EACCES when the best of them may not be executed.
    """

    candidates: tuple[str, ...]


class ForbidPrivileges(Operation):
    """PR_SET_NO_NEW_PRIVS."""


class LoadFilter(Operation):
    """seccomp(2) SECCOMP_SET_MODE_FILTER. program: the BPF instructions."""

    program: bytes
    flags: int


class LoadNotifyingFilter(Operation):
    """seccomp(2) with SECCOMP_FILTER_FLAG_NEW_LISTENER, the listener taken by the caller.

    Once the filter is loaded any system call may be the one that waits for the listener. So what
    remains is said through `handover`, a shared page: the listener's number there, then a word
    from the caller, without any call. Whether the caller lives cannot be asked either, so the wait
    is bounded by its number of turns.
    """

    program: bytes
    flags: int
    handover: Slot


class AwaitStart(Operation):
    """Tell the caller that the container is created, and once that is noted wait for the start fifo's byte.

    From here on a failure is written to `result` instead of the caller's socket.
    """

    gate: Slot
    result: Slot


class Execute(Operation):
    """execve(2) of the program found, with all descriptors but 0, 1, 2 and the preserved closed."""

    arguments: tuple[str, ...]
    environment: tuple[str, ...]
