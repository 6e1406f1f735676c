"""Where this machine keeps its cgroups: v1 hierarchies, the unified one, or both.

Three arrangements are in use. *Unified*: cgroup2 has every controller. *Legacy*: each controller
has a v1 hierarchy of its own or shares one. *Hybrid*: v1 hierarchies beside a cgroup2 that may
have no controllers at all. A process can sit at a different place in every one of them.
"""

from __future__ import annotations

from cloche import os
from cloche.errors import FailedPrecondition, InvalidArgument
from cloche.kernel import mountinfo
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

UNIFIED = ""
"""The name of cgroup2 where a controller's name stands (as in runc's state and /proc/PID/cgroup)."""


class Hierarchy(Record):
    """One mounted tree of cgroups.

    controllers: the v1 controllers that share it (`name=systemd` for a named one), or (UNIFIED,).
    mountpoint: where it is seen; own: the directory there of the calling process's cgroup.
    """

    controllers: tuple[str, ...]
    mountpoint: str
    own: str


class Layout(Record):
    """The machine's hierarchies as the calling process sees them."""

    legacy: tuple[Hierarchy, ...]
    unified: Hierarchy | None

    @property
    def mode(self) -> str:
        """`unified`, `hybrid` or `legacy`."""
        if self.unified is None:
            return "legacy"
        return "hybrid" if self.legacy else "unified"

    def directories(self, path: str) -> dict[str, str]:
        """The directory that a container's cgroups path means in each hierarchy.

        path: absolute means from each hierarchy's root, relative from where the caller sits in it.
            (In a purely unified layout from the parent of that: a cgroup with processes in it
            cannot hand controllers to its children.)
        Raises InvalidArgument when it names no cgroup below a root.
        """
        inner = os.path.normpath("/" + path).strip("/")
        if not inner or "\n" in inner or "\0" in inner:
            raise InvalidArgument(f"linux.cgroupsPath: {path!r} does not name a cgroup")
        places = {}
        for hierarchy in self.legacy:
            place = f"{hierarchy.mountpoint if path[0] == '/' else hierarchy.own}/{inner}"
            places.update(dict.fromkeys(hierarchy.controllers, place))
        if self.unified:
            above = self.unified.mountpoint if path[0] == "/" else self._unified_parent(self.unified)
            places[UNIFIED] = f"{above}/{inner}"
        return places

    def _unified_parent(self, unified: Hierarchy) -> str:
        if self.legacy or unified.own == unified.mountpoint:
            return unified.own
        return os.path.dirname(unified.own)


def parse_membership(text: bytes) -> dict[tuple[str, ...], str]:
    """/proc/PID/cgroup: the controllers of each hierarchy and the process's path in it.

    Raises ValueError for what is not such a file.
    """
    memberships = {}
    for line in text.splitlines():
        number, first, rest = line.partition(b":")
        controllers, second, path = rest.partition(b":")
        if not (number.isdigit() and first and second and path[:1] == b"/"):
            raise ValueError(f"not a line of /proc/PID/cgroup: {line!r}")
        memberships[tuple(os.fsdecode(controllers).split(","))] = os.fsdecode(path)
    return memberships


def parse_layout(mounts: Iterable[mountinfo.MountInfo], memberships: dict[tuple[str, ...], str]) -> Layout:
    """The layout from the mounts of cgroup file systems and the calling process's membership.

    A hierarchy that is not mounted is left out. Of several mounts of one the first counts, but
    one of the whole tree before one of a part of it.
    """
    mounts = sorted(mounts, key=lambda mount: mount.root != "/")
    legacy = []
    unified = None
    for controllers, path in memberships.items():
        kind = "cgroup2" if controllers == (UNIFIED,) else "cgroup"
        for mount in mounts:
            if mount.type == kind and (kind == "cgroup2" or controllers[0] in mount.super_options):
                hierarchy = Hierarchy(controllers, mount.point, _below(mount, path))
                break
        else:
            continue
        if kind == "cgroup2":
            unified = hierarchy
        else:
            legacy.append(hierarchy)
    return Layout(tuple(legacy), unified)


def _below(mount: mountinfo.MountInfo, path: str) -> str:
    """The directory under a mount for a path counted from the hierarchy's root."""
    if mount.root != "/":
        # Without a cgroup namespace a container sees paths of the host and a mount of its own part.
        if path != mount.root and not path.startswith(mount.root + "/"):
            return mount.point
        path = path[len(mount.root) :]
    # A path that begins with /.. is outside of the caller's cgroup namespace: not to be reached.
    if path in ("", "/") or path == "/.." or path.startswith("/../"):
        return mount.point
    return mount.point + path


def directories_of(pid: int) -> dict[str, str]:
    """Where a process sits: controller to directory, in the hierarchies that are mounted here.

    Raises ProcessLookupError or FileNotFoundError when there is no such process.
    """
    with open(f"/proc/{pid}/cgroup", "rb", buffering=0) as file:
        memberships = parse_membership(file.readall())
    found = parse_layout(mountinfo.mounts(containing=b" - cgroup"), memberships)
    hierarchies = (*found.legacy, *([found.unified] if found.unified else ()))
    return {name: hierarchy.own for hierarchy in hierarchies for name in hierarchy.controllers}


_known: list[tuple[int, Layout]] = []


def stay() -> None:
    """In a fork: what its parent has found holds for it too, since both sit in the same cgroups."""
    if _known:
        _known[:] = [(os.getpid(), _known[0][1])]


def layout() -> Layout:
    """This machine's layout, read once a process.

    Raises FailedPrecondition where no cgroup file system is mounted.
    """
    if not _known or _known[0][0] != os.getpid():
        with open("/proc/self/cgroup", "rb", buffering=0) as file:
            memberships = parse_membership(file.readall())
        found = parse_layout(mountinfo.mounts(containing=b" - cgroup"), memberships)
        if not found.legacy and found.unified is None:
            raise FailedPrecondition("no cgroup file system is mounted: mount cgroup2 at /sys/fs/cgroup")
        _known[:] = [(os.getpid(), found)]
    return _known[0][1]
