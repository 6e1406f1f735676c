"""Run one more process in a container that runs."""

from __future__ import annotations

from cloche import os
from cloche.errors import FailedPrecondition
from cloche.runtime.caller import Performing
from cloche.runtime.compile_exec import compile_exec
from cloche.runtime.execute import execute
from cloche.runtime.facts import Facts
from cloche.runtime.gather import (
    cgroup_facts,
    compiled_filter,
    different_namespaces,
    home_inside,
    is_rootless,
    with_listener,
)
from cloche.runtime.plan_namespaces import borrows_proc, is_moved, is_new, wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.kernel.cgroups.cgroup import Cgroup
    from cloche.runtime.container import Container
    from cloche.runtime.execute import Started
    from cloche.runtime.facts import CgroupFacts
    from cloche.spec.config import Process as ProcessConfig


def _by_user_scope(facts: CgroupFacts, container: Container, cgroup: Cgroup) -> CgroupFacts:
    """The process comes in by stage one, which the user's systemd moves there."""
    from cloche.kernel.cgroups.layout import UNIFIED
    from cloche.runtime.scope import AttachToScope

    below = cgroup.paths[UNIFIED].removeprefix(container.cgroup.paths[UNIFIED])
    return facts.replace(entrance=AttachToScope(container.stored.unit, below))


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
    pidfd = container.stored.open_process()
    if pidfd is None:
        raise FailedPrecondition(f"cannot exec in a stopped container: {container.id!r}")
    try:
        program, flags = compiled_filter(container.root, container.config)
        facts = Facts(
            id=container.id,
            bundle=container.bundle,
            cgroups=cgroup_facts(cgroup, container.pid).replace(moved=is_moved(container.config)),
            filter_program=program,
            filter_flags=flags,
            home=home_inside(container.pid, process),
            rootless=is_rootless(),
            user_namespace="user" in wanted(container.config),
            root_of=0 if is_new(container.config, "mount") else container.pid,
            borrowed_proc=borrows_proc(container.config, labelled=True),
        )
        facts = with_listener(facts, container.config, container.status(), container.pid)
        if container.stored.user_unit:
            facts = facts.replace(cgroups=_by_user_scope(facts.cgroups, container, cgroup))
        with Performing() as performing:
            performing.lend("process", pidfd)
            plan = compile_exec(process, facts, different_namespaces(container.pid))
            return execute(plan, performing, stdio=stdio, preserve_fds=preserve_fds)
    finally:
        os.close(pidfd)
