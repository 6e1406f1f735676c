"""Create a container: gather facts, compile, execute, write down.

Whatever fails, nothing is left: the undo of each step is pushed right after the step.
"""

from __future__ import annotations

import os

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
    cgroup, scope, rootless = planned_cgroups(
        config, container_id, systemd=systemd, rootless=rootless_cgroups
    )
    rootfs_path = "" if rootfs is not None else os.path.join(bundle, config["root"]["path"])
    state = State(container_id, bundle, os.path.normpath(rootfs_path or "/"), now(), cgroup.paths)
    state = state.replace(streams=streams(stdio))
    if scope:
        state = state.replace(unit=scope.unit.name, user_unit=scope.unit.user)
    folder = Folder(root, container_id)
    with folder.make(config, state):
        try:
            if prepare:
                prepare(folder.path)
            if not scope:
                make_cgroup(cgroup, config, rootless=rootless)
            state = state.replace(cgroup_paths=cgroup.paths)  # without root some may be left out
            compiled = compiled_filter(root, config, warnings)
            facts = gather(config, cgroup, compiled, bundle=bundle, rootfs=rootfs)
            facts = facts.replace(id=container_id, pivot=pivot, keyring=keyring)
            if scope:
                facts = facts.replace(cgroups=by_scope(facts.cgroups, scope, config, rootless=rootless))
            facts = with_listener(facts, config, "creating")
            if gate:
                folder.make_gate()
                facts = facts.replace(gate=folder.path)
            with Performing(trace) as performing:
                if rootfs is not None:
                    performing.lend("rootfs", rootfs)
                plan = compile_create(config, facts)

                def note(pid: int) -> None:
                    nonlocal state
                    state = state.with_process(pid).replace(late_steps=plan.late_steps())
                    folder.write(state)

                started = execute(plan, performing, stdio=stdio, preserve_fds=preserve_fds, note=note)
            if scope:
                scope.settle(config)
        except BaseException:
            if scope:
                scope.abandon()
            elif cgroup.exists():
                cgroup.destroy()
            folder.remove()
            raise
    container = Container(root, folder, state)
    if not gate and config.get("hooks"):
        container.run_poststart_hooks()
    return container, Process(started)
