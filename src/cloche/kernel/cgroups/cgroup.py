"""One container's cgroups: a directory in every hierarchy, made, limited, watched and removed together.

Nobody is moved here by pid. Writing another process's pid to a v1 cgroup waits 12 to 15 ms for
an RCU grace period; a process that writes "0" to a `tasks` file opened for it does not wait. So
this class only names those files, and the container's own first step is to join.
"""

from __future__ import annotations

import errno

from cloche import os
from cloche.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from cloche.kernel.cgroups import processes
from cloche.kernel.cgroups.files import Write, frozen, gone, read, write, write_all
from cloche.kernel.cgroups.layout import UNIFIED, Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Self

    from cloche.kernel.cgroups.metrics import Metrics

# cgroup2 marks no packets: what asks for it would be left out without a word.
_V1_ONLY = ("net_cls", "net_prio")
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NAMED = "name="


class Cgroup:
    """The cgroups of one container.

    paths: controller (`memory`, `name=systemd`, "" for cgroup2) to absolute directory; this is what a
    container's state keeps, and all that `load` needs.
    """

    def __init__(self, layout: Layout, paths: Mapping[str, str]) -> None:
        self._layout = layout
        self.paths: dict[str, str] = dict(paths)

    @classmethod
    def load(cls, layout: Layout, paths: Mapping[str, str]) -> Self:
        """The cgroups at the places that were stored; nothing is looked at yet."""
        return cls(layout, paths)

    @classmethod
    def plan(cls, layout: Layout, path: str) -> Self:
        """The cgroups that `make` would make for a cgroups path: what to write down before it does.

        path: linux.cgroupsPath, or the container's id where there is none. Absolute: from the root
            of each hierarchy; relative: below where the caller sits in it.
        Raises InvalidArgument when it names no cgroup.
        """
        if not path:
            raise InvalidArgument("linux.cgroupsPath: is empty")
        return cls(layout, layout.directories(path))

    @classmethod
    def create(cls, layout: Layout, path: str, *, rootless: bool = False) -> Self:
        """`plan` and `make` in one."""
        cgroup = cls.plan(layout, path)
        cgroup.make(rootless=rootless)
        return cgroup

    def below(self, subgroups: Mapping[str, str]) -> Cgroup:
        """Existing cgroups below these, for one more process of the same container.

        subgroups: path below the container's cgroup, by controller; "" stands for all hierarchies on v1
            and for cgroup2. Controllers that share a hierarchy go together.
        Raises InvalidArgument for a path that leads out, NotFound for a cgroup that is not there.
        """
        paths = dict(self.paths)
        for controller, inner in subgroups.items():
            if controller and controller not in self.paths:
                raise InvalidArgument(
                    f"unknown controller {controller!r}: there are {', '.join(filter(None, paths))}"
                )
            if ".." in inner.split("/") or "\0" in inner:
                raise InvalidArgument(f"the cgroup {inner!r} is not below the container's own")
            for name, directory in self.paths.items():
                if not controller or directory == self.paths[controller]:
                    paths[name] = f"{directory}/{inner.strip('/')}".rstrip("/")
        for directory in set(paths.values()):
            if not os.path.isdir(directory):
                raise NotFound(f"the cgroup {directory!r} does not exist: make it first")
        return Cgroup(self._layout, paths)

    def make(self, *, rootless: bool = False, joined: bool = False) -> None:
        """Make the directories, and those above them. On any failure what was made is removed.

        rootless: leave out hierarchies in which the caller may not make any. joined: what runs there
        already is ours.
        A directory that is there already is taken over when nothing runs in it.
        Raises FailedPrecondition when something does, OSError when the kernel refuses.
        """
        made: list[str] = []
        try:
            for directory in self._directories():
                try:
                    self._make(directory, made, joined=joined)
                except OSError as error:
                    if not rootless or error.errno not in _REFUSED:
                        raise
                    self._forget(directory)
        except BaseException:
            for directory in reversed(made):
                _quietly_remove(directory)
            raise

    def _directories(self) -> list[str]:
        """Each directory once: v1 controllers can share a hierarchy."""
        return list(dict.fromkeys(self.paths.values()))

    def _forget(self, directory: str) -> None:
        self.paths = {name: path for name, path in self.paths.items() if path != directory}

    def _make(self, directory: str, made: list[str], *, joined: bool) -> None:
        unified = directory == self.paths.get(UNIFIED)
        if unified and not self._layout.legacy:
            _make_directory(os.path.dirname(directory), made)
            self._delegate(directory)
        fresh = _make_directory(directory, made)
        if not fresh and not joined:
            running = processes.listed(directory)
            if running:
                raise FailedPrecondition(
                    f"the cgroup {directory!r} has {len(running)} processes in it: choose another cgroupsPath"
                )
        if directory == self.paths.get("cpuset") and not unified:
            from cloche.kernel.cgroups import cpuset

            cpuset.seed(directory, fresh=fresh)

    def _delegate(self, directory: str) -> None:
        """Hand cgroup2's controllers down to the parent's children.

        Never on a hybrid machine: there cgroup2 is kept aside, and which controllers it manages is the
        host's affair. A limit that needs one which was not handed down is refused by name.
        """
        root = self._layout.unified.mountpoint if self._layout.unified else os.path.dirname(directory)
        wanted = read(f"{root}/cgroup.controllers").split()
        parent = os.path.dirname(directory)
        if set(wanted) <= set(read(f"{parent}/cgroup.subtree_control").split()):
            return
        place = root
        for name in ("", *parent[len(root) + 1 :].split("/")):
            place = f"{place}/{name}" if name else place
            for controller in wanted:
                # A cgroup with processes in it, or one that was not delegated to us, refuses. The
                # limit that needs the controller says so, if there is one.
                _quietly_write(f"{place}/cgroup.subtree_control", f"+{controller}")

    def apply(
        self, resources: Mapping[str, Any], *, rootless: bool = False, with_devices: bool = True
    ) -> list[str]:
        """Give the cgroups the limits of linux.resources; returns warnings.

        rootless: a device rule that may not be set is left out, as nothing can be done about it.
        with_devices: False leaves the rules about devices as they are.
        Raises InvalidArgument for values that cannot be, FailedPrecondition for a limit whose
        controller this machine lacks, OSError naming limit and value when the kernel refuses.
        """
        from cloche.kernel.cgroups import v1, v2

        self._check_usage(resources)
        by_directory: dict[str, list[Write]] = {}
        for item in v1.writes(resources):
            if item.controller in self.paths:
                by_directory.setdefault(self.paths[item.controller], []).append(item)
            elif UNIFIED not in self.paths or item.controller in _V1_ONLY:
                raise _missing(item)
        if UNIFIED in self.paths:
            for item in v2.writes(resources):
                if item.controller not in self.paths or item.source.startswith("unified["):
                    self._require(item)
                    by_directory.setdefault(self.paths[UNIFIED], []).append(item)
        elif resources.get("unified"):
            raise FailedPrecondition("linux.resources.unified: this machine has no cgroup2 hierarchy")
        for directory, items in by_directory.items():
            write_all(directory, items)
        if with_devices:
            self._apply_devices(resources.get("devices") or (), rootless=rootless)
        return _warnings(resources)

    def _require(self, item: Write) -> None:
        """Refuse a v2 limit whose controller is not there, by a name rather than by ENOENT."""
        if item.optional or item.controller == "cgroup" or item.controller in self._unified_controllers():
            return
        raise _missing(item)

    def _unified_controllers(self) -> list[str]:
        names = read(f"{self.paths[UNIFIED]}/cgroup.controllers").split()
        return [*names, "blkio"] if "io" in names else names

    def _check_usage(self, resources: Mapping[str, Any]) -> None:
        """memory.checkBeforeUpdate: v1's kernel refuses a limit below the usage, v2's starts to kill."""
        memory = resources.get("memory") or {}
        limit = memory.get("limit") or 0
        if limit <= 0 or not memory.get("checkBeforeUpdate") or "memory" in self.paths:
            return
        usage = int(read(f"{self.paths[UNIFIED]}/memory.current"))
        if usage > limit:
            raise FailedPrecondition(
                f"linux.resources.memory.limit: {limit} is less than the {usage} bytes that are in use"
            )

    def _apply_devices(self, rules: Any, *, rootless: bool) -> None:
        from cloche.kernel.cgroups import devices

        wanted = devices.compile_rules((*rules, *devices.DEFAULT_RULES))
        try:
            if "devices" in self.paths:
                devices.apply(self.paths["devices"], wanted)
            elif UNIFIED in self.paths:
                from cloche.kernel.cgroups import device_filter

                device_filter.attach(self.paths[UNIFIED], wanted)
        except OSError as error:
            if not rootless or error.errno not in _REFUSED:
                raise

    def task_files(self) -> list[str]:
        """The v1 `tasks` files; a single-threaded process that writes "0" to each has joined."""
        unified = self.paths.get(UNIFIED)
        return [f"{directory}/tasks" for directory in self._directories() if directory != unified]

    def unified_directory(self) -> str | None:
        """The cgroup2 directory, to be opened for CLONE_INTO_CGROUP; None where there is none."""
        return self.paths.get(UNIFIED)

    def entrance(self, pid: int) -> str | None:
        """Where in cgroup2 one more process can be born, beside `pid`, who is inside (see division.py)."""
        own = self.paths.get(UNIFIED)
        if own is None or not self._layout.unified or not read(f"{own}/cgroup.subtree_control"):
            return own
        from cloche.kernel.cgroups.division import beside

        return beside(own, self._layout.unified.mountpoint, pid)

    def delegate(self, uid: int, gid: int = -1) -> None:
        """Let a user of the host arrange processes in the cgroup2 directory (see division.py).

        Nothing happens where v1 is in use, whose cgroups cannot be delegated safely.
        """
        directory = self.paths.get(UNIFIED)
        if directory is not None and not self._layout.legacy:
            from cloche.kernel.cgroups.division import delegate

            delegate(directory, uid, gid)

    def processes(self, *, recursive: bool = True) -> list[int]:
        """The pids inside, sorted; `recursive`: those in cgroups below too."""
        return processes.inside(self._roster(), recursive=recursive)

    def _roster(self) -> str:
        """The directory that certainly lists every process: a v1 one, since all join those."""
        for name in ("freezer", "pids", "memory", "devices"):
            if name in self.paths:
                return self.paths[name]
        return next((path for name, path in self.paths.items() if name), self.paths.get(UNIFIED, ""))

    def exists(self) -> bool:
        """Whether the directory that lists the processes is there."""
        return os.path.isdir(self._roster())

    def freeze(self) -> None:
        """Stop every process until `thaw`. On failure everything runs again.

        Raises FailedPrecondition without a freezer, Unavailable when processes cannot be stopped.
        """
        if "freezer" in self.paths:
            processes.freeze_legacy(self.paths["freezer"])
        elif UNIFIED in self.paths:
            processes.freeze_unified(self.paths[UNIFIED])
        else:
            raise FailedPrecondition("this machine has no freezer cgroup: nothing can be paused")

    def thaw(self) -> None:
        """Let everything run again; nothing happens when it does already, or when the cgroup is gone."""
        try:
            if "freezer" in self.paths:
                write(f"{self.paths['freezer']}/freezer.state", "THAWED")
            elif UNIFIED in self.paths:
                write(f"{self.paths[UNIFIED]}/cgroup.freeze", "0")
        except OSError as error:
            if not gone(error):
                raise

    def frozen(self) -> bool:
        """Whether the cgroup itself was frozen (not merely one above it)."""
        return frozen(self.paths)

    def kill(self, signal: int = 9) -> None:
        """Send a signal to every process inside, so that none escapes by forking meanwhile.

        With SIGKILL what was paused is let go, to die. The caller itself is never signalled.
        """
        unified = self.paths.get(UNIFIED)
        if signal == 9 and unified and processes.kill_unified(unified) and len(self._directories()) == 1:
            self.thaw()
            return
        was_frozen = self.frozen()
        try:
            inside = self.processes()
            if not inside:
                return
            self._hold()
            processes.signal_all(self._roster(), signal)
        except FileNotFoundError:
            return
        finally:
            if signal == 9 or not was_frozen:
                self.thaw()

    def _hold(self) -> None:
        """Freeze where that can be done: signals then meet everyone, and no pid is another's."""
        try:
            self.freeze()
        except (FailedPrecondition, Unavailable):
            pass

    def destroy(self, *, timeout_s: float = 5.0) -> None:
        """Remove the directories and all below them; those that are gone already do not matter.

        timeout_s: how long to wait for killed processes to leave.
        Raises Unavailable, naming who is still inside, when it takes longer.
        """
        left = processes.remove(self._directories(), timeout_s=timeout_s)
        if left:
            inside = ", ".join(str(pid) for pid in processes.inside(left[0], recursive=True)[:5]) or "nobody"
            raise Unavailable(f"the cgroup {left[0]!r} is busy (pids inside: {inside}): kill them first")

    def metrics(self) -> Metrics:
        """What is used now; parts whose controller is missing are None."""
        from cloche.kernel.cgroups.metrics import read_metrics

        return read_metrics(self.paths)

    def oom_kills(self) -> int:
        """How many processes the kernel killed inside for want of memory."""
        from cloche.kernel.cgroups.metrics import oom_kills

        return oom_kills(self.paths)


def _make_directory(directory: str, made: list[str]) -> bool:
    """mkdir with parents, noting each new one in `made`; False when it was there."""
    try:
        try:
            os.mkdir(directory, 0o755)
        except FileNotFoundError:
            _make_directory(os.path.dirname(directory), made)
            # Refused again where the one above was removed, and is seen by its mount only.
            os.mkdir(directory, 0o755)
    except FileExistsError:
        return False
    made.append(directory)
    return True


def _quietly_remove(directory: str) -> None:
    try:
        os.rmdir(directory)
    except OSError:
        pass  # a parent in which somebody else made a cgroup meanwhile


def _quietly_write(path: str, value: str) -> None:
    try:
        write(path, value)
    except OSError:
        pass


def _missing(item: Write) -> FailedPrecondition:
    return FailedPrecondition(
        f"linux.resources.{item.source}: this machine has no {item.controller!r} cgroup controller: "
        "remove the limit, or have the host provide the controller"
    )


def _warnings(resources: Mapping[str, Any]) -> list[str]:
    memory = resources.get("memory") or {}
    return [
        f"linux.resources.memory.{key} is ignored: kernels no longer limit it on its own"
        for key in ("kernel", "kernelTCP")
        if memory.get(key)
    ]
