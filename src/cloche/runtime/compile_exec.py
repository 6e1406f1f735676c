"""Compile one more process of a container into a plan; what every process has in common. Pure.

The order of an exec is this module; that of a create is compile.py.
"""

from __future__ import annotations

from cloche.runtime import operations as op
from cloche.runtime import plan_namespaces, plan_process
from cloche.runtime.caller import OpenRootOf
from cloche.runtime.plan import CALLER, STAGE_ONE, STAGE_TWO, Plan, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cloche.runtime.facts import Facts
    from cloche.spec.config import Process


def compile_exec(process: Process, facts: Facts, kinds: int) -> Plan:
    """The plan that runs one more process in a container.

    kinds: CLONE_NEW* of the kernel namespaces to join, by the slot `process`, a lent pidfd.
    """
    joins_user = bool(kinds & plan_namespaces.KINDS["user"])
    # With nsdelegate nobody is born outside of his cgroup namespace (ENOENT): it is joined inside.
    last = 0 if facts.cgroups.moved else kinds & plan_namespaces.KINDS["cgroup"]
    steps = (
        *plan_namespaces.entering(facts.cgroups),
        *plan_namespaces.opened_cgroups(facts.cgroups),
        *(plan_namespaces.opened_proc() if facts.borrowed_proc and plan_process.is_labelled(process) else ()),
        *opened_tree(facts),
        *plan_process.opened_handover(facts),
        *plan_process.scored(process, rootless=facts.rootless),
        *affinity(process, STAGE_ONE),
        # Between the join and execve the process is inside: it must not be readable there.
        Step("exec", STAGE_ONE, op.ForbidDumps()),
        *joined(STAGE_ONE, kinds & ~last),
        Step("exec", STAGE_ONE, op.CloneProcess(0, plan_namespaces.birthplace(facts.cgroups))),
        *plan_namespaces.entered_cgroups(facts.cgroups),
        # Only now: CLONE_INTO_CGROUP asks for the ids that own the cgroup on the host.
        *([Step("exec", STAGE_TWO, op.BecomeRoot())] if joins_user else []),
        *joined(STAGE_TWO, last),
        *affinity(process, STAGE_TWO),
        Step("process", STAGE_TWO, op.NewSession()),
        *plan_process.keyring(facts),
        Step("exec", STAGE_TWO, op.EnterTree("root") if facts.root_of else op.OpenRoot()),
        *plan_process.labelled_proc(process, borrowed=facts.borrowed_proc),
        *plan_process.console(process, bind=False),
        *plan_process.streams(process),
        *plan_process.labels(process),
        *plan_process.limits(process, raised=False),
        *plan_process.scheduled(process),
        *plan_process.privileges_given_up(process, facts),
        *plan_process.filter_late(process, facts),
        *plan_process.execute(process, facts.home),
    )
    return Plan(steps)


def joined(stage: int, kinds: int) -> Iterator[Step]:
    """Join these of the container's kernel namespaces; setns(2) refuses to be asked for none."""
    if kinds:
        yield Step("exec", stage, op.JoinProcess("process", kinds))


def opened_tree(facts: Facts) -> Iterator[Step]:
    """The root of a container that shares its mount namespace: its mounts are a tree of their own."""
    if facts.root_of:
        yield Step("exec", CALLER, OpenRootOf("root", "process", facts.root_of))


def affinity(process: Process, stage: int) -> Iterable[Step]:
    """The processors of an exec: before its cgroup was entered, and within what that allows."""
    if not process.get("execCPUAffinity"):
        return ()
    from cloche.runtime import plan_scheduling

    before, after = plan_scheduling.affinity_before, plan_scheduling.affinity_after
    return before(process) if stage == STAGE_ONE else after(process)
