"""Whoever called `start`, as /proc knows it: what a shim takes over, and what it cannot.

A shim that `start` itself becomes has all of this by being its child. One that is forked from a
warm parent takes it over piece by piece. What a process cannot give itself (namespaces, root
directory, credentials, security context) has to be the same already, or nothing is forked.

Everything is read below one descriptor of /proc/PID, which stays that process's for ever.
"""

from __future__ import annotations

import os

from cloche.kernel import mountinfo, syscalls
from cloche.kernel.cgroups.layout import parse_layout, parse_membership

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.kernel.cgroups.layout import Hierarchy

_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
# The first and the last of lines that follow each other in /proc/PID/status.
_CREDENTIALS = (
    (b"\nUid:", b"\nGid:"),
    (b"\nGroups:", b"\nGroups:"),
    (b"\nCapInh:", b"\nSeccomp:"),
)
RLIMIT_NOFILE = 7
_UNLIMITED = (1 << 64) - 1
_HIGHEST_SCORE = 1000
_PR_SCHED_CORE, _SHARE_FROM, _CREATE = 62, 3, 1
_OF_THREAD, _OF_GROUP = 0, 2


class Caller:
    """A process, by a descriptor of its directory below /proc. Owns the descriptor."""

    def __init__(self, directory: int) -> None:
        self._directory = directory

    @classmethod
    def myself(cls) -> Caller:
        """The calling process."""
        return cls(os.open("/proc/self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def _read(self, name: str) -> bytes:
        return _content(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._directory))

    def command(self) -> list[str]:
        """The words it was started with."""
        return [os.fsdecode(word) for word in self._read("cmdline").split(b"\0")[:-1]]

    def environment(self) -> dict[str, str]:
        """The environment that it was started with."""
        pairs = (os.fsdecode(entry).partition("=") for entry in self._read("environ").split(b"\0"))
        return {key: value for key, equals, value in pairs if equals and key}

    def identity(self) -> tuple[object, ...]:
        """What two processes must have in common for one to stand in for the other."""
        namespaces = [self._link(f"ns/{kind}") for kind in _NAMESPACES]
        root = os.stat("root", dir_fd=self._directory)
        try:
            label = self._read("attr/current")
        except OSError:
            label = b""  # EINVAL: no security module is active
        return (*namespaces, *self._credentials(), root.st_dev, root.st_ino, label)

    def _credentials(self) -> tuple[bytes, ...]:
        """Users, groups, capabilities, no_new_privs and seccomp's mode, as lines of /proc/PID/status."""
        text = self._read("status")
        return tuple(
            text[text.index(first) : text.index(b"\n", text.index(last) + 1)] for first, last in _CREDENTIALS
        )

    def _link(self, name: str) -> str:
        try:
            return os.readlink(name, dir_fd=self._directory)
        except FileNotFoundError:
            return ""  # a kernel without namespaces of that kind

    def hand_down(self) -> None:
        """Make the calling process, which has one thread, as a child of this one would be.

        All but its cgroups, and its standing when memory runs out. Raises OSError for what cannot be had.
        """
        descriptor = os.open("cwd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._directory)
        try:
            os.fchdir(descriptor)
        finally:
            os.close(descriptor)
        self._hand_down_environment()
        os.umask(int(self._read("status").partition(b"\nUmask:")[2].split(None, 1)[0], 8))
        self._hand_down_limits()
        self._hand_down_scheduling()

    def program(self) -> str:
        """The path of the file that it executes."""
        return self._link("exe")

    def hand_down_score(self, more: int = 1) -> None:
        """The kernel shall sooner end a shim than containerd: that much more than the caller's score.

        Refused to those who may not be spared as the caller is; then the own one stays.
        """
        score = min(int(self._read("oom_score_adj")) + more, _HIGHEST_SCORE)
        try:
            with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
                file.write(b"%d" % score)
        except PermissionError:
            pass

    def _hand_down_environment(self) -> None:
        """Change what differs: as a rule all callers of one warm parent have the same.

        Ours is still the one that this process, or the one it was forked from, was executed with.
        """
        if self._read("environ") == content_of("/proc/self/environ"):
            return
        wanted = self.environment()
        for name in [name for name in os.environ if name not in wanted]:
            del os.environ[name]
        for name, value in wanted.items():
            if os.environ.get(name) != value:
                os.environ[name] = value

    def _hand_down_limits(self) -> None:
        """Set our resource limits to its."""
        own, wanted = content_of("/proc/self/limits"), self._read("limits")
        if own == wanted:
            return
        for number, (mine, its) in enumerate(zip(parse_limits(own), parse_limits(wanted), strict=True)):
            if mine != its:
                syscalls.prlimit(0, number, *its)

    def _hand_down_scheduling(self) -> None:
        """Its processors, niceness and core-scheduling cookie."""
        pid = int(self._read("stat").partition(b" ")[0])
        if os.getpriority(os.PRIO_PROCESS, 0) != (nice := os.getpriority(os.PRIO_PROCESS, pid)):
            os.setpriority(os.PRIO_PROCESS, 0, nice)
        if (processors := os.sched_getaffinity(pid)) != os.sched_getaffinity(0):
            os.sched_setaffinity(0, processors)
        try:
            syscalls.call("prctl", _PR_SCHED_CORE, _SHARE_FROM, pid, _OF_THREAD, 0)
        except OSError:
            pass  # a kernel without core scheduling, or a machine without hyper-threading

    def enter_cgroups(self, shim_cgroup: str) -> None:
        """Join its cgroups, or those of that path, in every hierarchy where we are not there yet.

        Raises FileNotFoundError where no hierarchy has shim_cgroup.
        """
        own, theirs = content_of("/proc/self/cgroup"), self._read("cgroup")
        if not shim_cgroup:
            if own != theirs:
                _move(_hierarchies(theirs), _hierarchies(own))
            return
        chosen = [
            hierarchy.replace(own=f"{hierarchy.mountpoint}/{shim_cgroup.strip('/')}")
            for hierarchy in _hierarchies(theirs)
        ]
        chosen = [hierarchy for hierarchy in chosen if os.path.isdir(hierarchy.own)]
        if not chosen:
            raise FileNotFoundError(2, "no hierarchy has the shim's cgroup", shim_cgroup)
        _move(chosen, ())


def content_of(path: str) -> bytes:
    """All of a small file."""
    return _content(os.open(path, os.O_RDONLY | os.O_CLOEXEC))


def _content(descriptor: int) -> bytes:
    """All of a file, which is closed."""
    try:
        content = part = os.read(descriptor, 1 << 16)
        while part and (part := os.read(descriptor, 1 << 16)):
            content += part
        return content
    finally:
        os.close(descriptor)


def create_cookie() -> None:
    """Share processor cores with no other program from now on. Raises OSError where that cannot be."""
    syscalls.call("prctl", _PR_SCHED_CORE, _CREATE, 0, _OF_GROUP, 0)


def parse_limits(text: bytes) -> list[tuple[int, int]]:
    """/proc/PID/limits: soft and hard limit of each resource, in the order of their numbers.

    Columns have fixed widths; names have blanks in them. Raises ValueError for what is no such file.
    """
    limits = []
    for line in text.splitlines()[1:]:
        soft, hard = line[26:46].strip(), line[47:67].strip()
        limits.append((_limit(soft), _limit(hard)))
    return limits


def _limit(text: bytes) -> int:
    return _UNLIMITED if text == b"unlimited" else int(text)


def _hierarchies(membership: bytes) -> tuple[Hierarchy, ...]:
    found = parse_layout(mountinfo.mounts(containing=b" - cgroup"), parse_membership(membership))
    return (*found.legacy, found.unified) if found.unified else found.legacy


def _move(wanted: Sequence[Hierarchy], present: Sequence[Hierarchy]) -> None:
    """A process of one thread that writes 0 into `tasks` (v1) moves without waiting for RCU."""
    for hierarchy in wanted:
        if hierarchy in present:
            continue
        name = "tasks" if os.path.exists(f"{hierarchy.own}/tasks") else "cgroup.procs"
        descriptor = os.open(f"{hierarchy.own}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"0")
        finally:
            os.close(descriptor)
