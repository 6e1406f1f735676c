"""Create a container: gather facts, compile, execute, write down.

Whatever fails, nothing is left: the undo of each step is pushed right after the step.
"""

from __future__ import annotations

import os

from cloche.errors import FailedPrecondition
from cloche.kernel.cgroups.cgroup import Cgroup
from cloche.kernel.cgroups.layout import layout
from cloche.runtime.caller import Performing
from cloche.runtime.compile import compile_create
from cloche.runtime.container import Container, Process
from cloche.runtime.execute import execute
from cloche.runtime.gather import compiled_filter, gather, is_rootless, with_listener
from cloche.runtime.plan_namespaces import delegate_of, inner_group
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
) -> tuple[Container, Process]:
    """Make a container.

    root: folder of all states. config: validated. bundle: absolute; relative paths count from it.
    rootfs: a detached mount (kernel.mounts.assemble) instead of root.path, borrowed. stdio: what
    becomes descriptors 0, 1, 2, borrowed. preserve_fds: how many from 3 on go along. gate: wait for
    `Container.start`; without it the program runs at once. pivot: pivot_root(2) rather than
    chroot(2). keyring: a session keyring of the container's own. warnings: gets a line for each system
    call of the filter that is not known here. trace: gets the times of all operations.
    prepare: called with the folder of the container's state, before the plan.
    Raises AlreadyExists, and whatever an operation of the plan met, named by its place.
    """
    cgroup = Cgroup.plan(layout(), config.get("linux", {}).get("cgroupsPath") or container_id)
    rootfs_path = "" if rootfs is not None else os.path.join(bundle, config["root"]["path"])
    state = State(container_id, bundle, os.path.normpath(rootfs_path or "/"), now(), cgroup.paths)
    state = state.replace(streams=streams(stdio))
    folder = Folder(root, container_id)
    with folder.make(config, state):
        try:
            if prepare:
                prepare(folder.path)
            make_cgroup(cgroup, config)
            state = state.replace(cgroup_paths=cgroup.paths)  # without root some may be left out
            compiled = compiled_filter(root, config, warnings)
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


def refused_limit(place: str, error: OSError) -> FailedPrecondition:
    """A cgroup that cannot be made, or a limit that it cannot be given, in the user's terms."""
    from cloche.runtime.advice import advice

    where = f"{error.filename}: " if error.filename else ""
    todo = advice("write limit" if "resources" in place else "make cgroup", error.errno or 0)
    return FailedPrecondition(f"{place}: {where}{error.strerror}{f': {todo}' if todo else ''}")


def make_cgroup(cgroup: Cgroup, config: Config) -> None:
    """Make a container's cgroups and set its limits. Raises FailedPrecondition that names the place."""
    rootless = is_rootless()
    place = "linux.cgroupsPath"
    try:
        cgroup.make(rootless=rootless)
        place = "linux.resources"
        cgroup.apply(config.get("linux", {}).get("resources", {}), rootless=rootless)
        place = "linux.namespaces cgroup"
        owner = delegate_of(config)
        if owner and not rootless:
            cgroup.delegate(owner, inner_group(config))
    except OSError as error:
        raise refused_limit(f"config.json: {place}", error) from None
