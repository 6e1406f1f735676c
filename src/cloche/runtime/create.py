"""Create a container: gather facts, compile, execute, write down.

Whatever fails, nothing is left: the undo of each step is pushed right after the step.
"""

from __future__ import annotations

from cloche import os
from cloche.runtime.caller import Performing
from cloche.runtime.cgroups import by_scope, make_cgroup, planned_cgroups
from cloche.runtime.compile import compile_create
from cloche.runtime.container import Container, Process
from cloche.runtime.execute import execute
from cloche.runtime.gather import compiled_filter, gather, with_listener
from cloche.runtime.state import Folder, State, now, streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.runtime.execute import Started
    from cloche.runtime.facts import Facts
    from cloche.runtime.trace import Trace
    from cloche.spec.config import Config


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
    systemd: bool = False,
    rootless_cgroups: bool | None = None,
) -> tuple[Container, Process]:
    """Make a container.

    root: folder of all states. config: validated. bundle: absolute; relative paths count from it.
    rootfs: a detached mount (kernel.mounts.assemble) instead of root.path, borrowed. stdio: what
    becomes descriptors 0, 1, 2, borrowed. preserve_fds: how many from 3 on go along. gate: wait for
    `Container.start`; without it the program runs at once. pivot: pivot_root(2) rather than
    chroot(2). keyring: a session keyring of the container's own. warnings: gets a line for each system
    call of the filter that is not known here. trace: gets the times of all operations.
    prepare: called with the folder of the container's state, before the plan. systemd: it makes the
    cgroup. rootless_cgroups: do without what may not be done to cgroups; None where the caller is not root.
    Raises AlreadyExists, and whatever an operation of the plan met, named by its place.
    """
    making = _Making(config, container_id, systemd=systemd, rootless=rootless_cgroups)
    state = making.begin(bundle, config["root"]["path"] if rootfs is None else "", stdio)
    folder = making.folder = Folder(root, container_id)
    with folder.make(config, state):
        try:
            if prepare:
                prepare(folder.path)
            making.make_cgroup()
            facts = making.gather(compiled_filter(root, config, warnings), rootfs)
            facts = facts.replace(pivot=pivot, keyring=keyring)
            if gate:
                folder.make_gate()
                facts = facts.replace(gate=folder.path)
            with Performing(trace) as performing:
                if rootfs is not None:
                    performing.lend("rootfs", rootfs)
                started = making.execute(facts, performing, stdio, preserve_fds)
        except BaseException:
            making.undo()
            raise
    container = Container(root, folder, making.state)
    if not gate and config.get("hooks"):
        container.run_poststart_hooks()
    return container, Process(started)


class _Making:
    """A container on its way: its state, its cgroup or scope, and what undoes them."""

    folder: Folder
    state: State

    def __init__(self, config: Config, container_id: str, *, systemd: bool, rootless: bool | None) -> None:
        planned = planned_cgroups(config, container_id, systemd=systemd, rootless=rootless)
        self._config = config
        self._id = container_id
        self._cgroup, self._scope, self._rootless = planned

    def begin(self, bundle: str, rootfs: str, stdio: tuple[int, int, int]) -> State:
        """What is written down before anything is there. rootfs: a path, empty where it has none."""
        path = os.path.normpath(os.path.join(bundle, rootfs) if rootfs else "/")
        state = State(self._id, bundle, path, now(), self._cgroup.paths)
        self.state = state.replace(streams=streams(stdio))
        if self._scope:
            self.state = self.state.replace(unit=self._scope.unit.name, user_unit=self._scope.unit.user)
        return self.state

    def make_cgroup(self) -> None:
        """Unless systemd does, when the process is there."""
        if not self._scope:
            make_cgroup(self._cgroup, self._config, rootless=self._rootless)
        # Without root some may be left out.
        self.state = self.state.replace(cgroup_paths=self._cgroup.paths)

    def gather(self, compiled: tuple[bytes, int], rootfs: int | None) -> Facts:
        """What the plan depends on. compiled: the filter and its flags."""
        config = self._config
        facts = gather(config, self._cgroup, compiled, bundle=self.state.bundle, rootfs=rootfs)
        facts = facts.replace(id=self._id)
        if self._scope:
            cgroups = by_scope(facts.cgroups, self._scope, config, rootless=self._rootless)
            facts = facts.replace(cgroups=cgroups)
        return with_listener(facts, config, "creating")

    def execute(
        self, facts: Facts, performing: Performing, stdio: tuple[int, int, int], preserve_fds: int
    ) -> Started:
        """The plan, with the process written down before it may go on."""
        plan = compile_create(self._config, facts)

        def note(pid: int) -> None:
            self.state = self.state.with_process(pid).replace(late_steps=plan.late_steps())
            self.folder.write(self.state)

        started = execute(plan, performing, stdio=stdio, preserve_fds=preserve_fds, note=note)
        if self._scope:
            self._scope.settle(self._config)
        return started

    def undo(self) -> None:
        """Leave nothing."""
        if self._scope:
            self._scope.abandon()
        elif self._cgroup.exists():
            self._cgroup.destroy()
        self.folder.remove()
