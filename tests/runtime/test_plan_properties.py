"""What holds for the plan of every valid configuration. No root needed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cloche.errors import ClocheError
from cloche.runtime import operations as op
from cloche.runtime.caller import LENT
from cloche.runtime.compile import compile_create
from cloche.runtime.compile_exec import compile_exec
from cloche.runtime.facts import CgroupFacts, Facts, Hierarchy, Listener
from cloche.runtime.plan import CALLER, STAGE_ONE, STAGE_TWO, Plan
from cloche.runtime.plan_namespaces import KINDS, wanted
from cloche.spec.validate import validate
from tests.runtime.configurations import configurations
from tests.runtime.test_plan import Decoder

CGROUPS = st.sampled_from(
    [
        CgroupFacts(unified="/sys/fs/cgroup/c"),
        CgroupFacts(
            ("/sys/fs/cgroup/pids/c/tasks", "/sys/fs/cgroup/cpu,cpuacct/c/tasks"),
            "/sys/fs/cgroup/unified/c",
            (Hierarchy("pids", ("pids",), "/p"), Hierarchy("cpu,cpuacct", ("cpu", "cpuacct"), "/c")),
        ),
    ]
)
FILTERS = st.sampled_from(
    [(b"", 0, None), (bytes(16), 0, None), (bytes(16), 8, Listener("/agent", "", b'{"pid": 0}'))]
)

# Operations that make something of the container's view of files, before the root is changed.
MOUNTING = (op.AttachRoot, op.NewMount, op.AttachMount, op.MakeDirectory, op.MakeDevice)
# What waits for the caller, so that steps of the caller may follow.
WAITING = (op.AwaitCaller, op.LendNetlink, op.RequestMounts, op.LoadNotifyingFilter)
LOADING = (op.LoadFilter, op.LoadNotifyingFilter)

many = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@st.composite
def compiled(draw: st.DrawFn) -> tuple[Any, Facts, Plan]:
    """A valid configuration, facts, and the plan made of them."""
    config = draw(configurations())
    try:
        validate(config)
    except ClocheError:
        assume(False)
    program, flags, listener = draw(FILTERS)
    facts = Facts(
        "/bundle",
        draw(CGROUPS),
        id="c",
        rootfs_given=draw(st.booleans()),
        filter_program=program,
        filter_flags=flags,
        listener=listener,
        gate=draw(st.sampled_from(["", "/run/c"])),
        user_namespace="user" in wanted(config),
        pivot=draw(st.booleans()),
        selinux=draw(st.booleans()),
    )
    before = copy.deepcopy(config)
    try:
        plan = compile_create(config, facts)
    except ClocheError as refused:
        assert str(refused).startswith("config.json: ")  # noqa: PT017 - a refusal is as good, if it says where
        assume(False)
        raise
    assert config == before
    return config, facts, plan


def places(plan: Plan, *kinds: type) -> list[int]:
    return [i for i, step in enumerate(plan.steps) if isinstance(step.operation, kinds)]


def slots_of(operation: Any) -> set[str]:
    return {getattr(operation, name) for name, kind in operation._field_types.items() if kind == "Slot"} - {
        ""
    }


def stages_are_in_order(plan: Plan) -> None:
    own = [step.stage for step in plan.steps if step.stage != CALLER]
    assert own == sorted(own)
    clones = places(plan, op.CloneProcess)
    assert len(clones) == 1
    assert all(step.stage != STAGE_ONE for step in plan.steps[clones[0] + 1 :])
    for index, step in enumerate(plan.steps):
        if step.stage == CALLER and index > clones[0]:
            before = next(s for s in reversed(plan.steps[:index]) if s.stage != CALLER)
            assert isinstance(before.operation, WAITING)


def every_slot_is_filled_before_it_is_used(plan: Plan, *lent: str) -> None:
    filled = set(lent)
    for step in plan.steps:
        operation: Any = step.operation
        if step.stage == CALLER:
            filled.update(slots_of(operation) & {getattr(operation, "slot", "")})
        if isinstance(operation, op.LendNetlink):
            filled.add(LENT)
        assert slots_of(operation) <= filled, step.describe()


def the_filter_is_where_it_must_be(plan: Plan, facts: Facts, *, no_new_privs: bool) -> None:
    loads = places(plan, *LOADING)
    assert len(loads) == bool(facts.filter_program)
    if not loads:
        return
    (load,) = loads
    dropped, identity = places(plan, op.DropBounding)[0], places(plan, op.SetCapabilities)[0]
    if no_new_privs:
        assert places(plan, op.ForbidPrivileges)[0] < identity < load
    else:
        assert load < dropped
    if facts.listener:
        assert not [gate for gate in places(plan, op.AwaitStart) if gate < load]
    if no_new_privs and not facts.listener:
        allowed = (op.RunHook, op.Execute)
        assert all(isinstance(step.operation, allowed) for step in plan.steps[load + 1 :])


def encodes(plan: Plan) -> None:
    data, slots = plan.encode()
    encoded = [step.operation for step in plan.steps if isinstance(step.operation, op.Operation)]
    assert Decoder(data, slots).operations() == encoded
    assert len(set(slots)) == len(slots)


@many
@given(compiled())
def test_a_plan_to_create_keeps_its_promises(made: tuple[Any, Facts, Plan]) -> None:
    config, facts, plan = made
    stages_are_in_order(plan)
    every_slot_is_filled_before_it_is_used(plan, *(["rootfs"] if facts.rootfs_given else []))
    the_filter_is_where_it_must_be(plan, facts, no_new_privs=config["process"].get("noNewPrivileges", False))
    encodes(plan)
    assert len(plan.explain().splitlines()) >= len(plan.steps)


@many
@given(compiled())
def test_nothing_of_the_host_can_be_named_once_the_root_has_changed(made: tuple[Any, Facts, Plan]) -> None:
    _, _, plan = made
    (pivot,) = places(plan, op.PivotRoot, op.EnterRoot)
    allowed = {"null", "gate:start", "gate:result", "handover"}
    for step in plan.steps[pivot + 1 :]:
        assert slots_of(step.operation) <= allowed, step.describe()
        assert step.stage == STAGE_TWO or "seccomp" in step.place
    assert all(index < pivot for index in places(plan, *MOUNTING))


@many
@given(compiled())
def test_nothing_is_mounted_before_propagation_is_cut_and_nothing_after_the_masks(
    made: tuple[Any, Facts, Plan],
) -> None:
    _, _, plan = made
    (cut,) = places(plan, op.SetPropagation)
    made_here = places(plan, *MOUNTING)
    assert cut < min(made_here)
    hidden = places(plan, op.MaskPath, op.ProtectPath)
    assert not hidden or max(made_here) < min(hidden)


@many
@given(compiled())
def test_cgroups_come_first_and_privileges_go_before_the_program(made: tuple[Any, Facts, Plan]) -> None:
    _, facts, plan = made
    two = [step.operation for step in plan.steps if step.stage == STAGE_TWO]
    entering = len(facts.cgroups.tasks)
    assert all(isinstance(operation, op.EnterCgroup) for operation in two[:entering])
    assert isinstance(two[-1], op.Execute)
    order: list[Callable[..., op.Operation]] = [op.DropBounding, op.SetGroups, op.SetUser, op.SetCapabilities]
    found = [places(plan, kind) for kind in order]  # type: ignore[arg-type]  # classes they are
    assert [len(one) for one in found] == [1, 1, 1, 1]
    assert [one[0] for one in found] == sorted(one[0] for one in found)
    assert found[-1][0] < places(plan, op.Execute)[0]


@many
@given(compiled())
def test_every_mount_of_the_configuration_is_made_and_labelled_where_labels_count(
    made: tuple[Any, Facts, Plan],
) -> None:
    config, facts, plan = made
    for index, mount in enumerate(config.get("mounts", ())):
        operations = [step.operation for step in plan.steps if step.place == f"mounts[{index}]"]
        assert any(isinstance(operation, (op.NewMount, op.AttachMount)) for operation in operations)
        if mount.get("uidMappings"):
            assert any(type(operation).__name__ == "MapTree" for operation in operations)
    label = config["linux"].get("mountLabel")
    labelled = {
        step.operation.filesystem
        for step in plan.steps
        if isinstance(step.operation, op.NewMount) and f"context={label}" in step.operation.options
    }
    assert not labelled or (facts.selinux and not labelled & {"proc", "sysfs", "mqueue", "cgroup", "cgroup2"})


@many
@given(compiled(), st.lists(st.sampled_from(sorted(KINDS)), unique=True))
def test_a_plan_to_exec_keeps_its_promises(made: tuple[Any, Facts, Plan], joined: list[str]) -> None:
    config, facts, _ = made
    process = config["process"]
    plan = compile_exec(process, facts, sum(KINDS[kind] for kind in joined))
    stages_are_in_order(plan)
    every_slot_is_filled_before_it_is_used(plan, "process")
    the_filter_is_where_it_must_be(
        plan, facts.replace(gate=""), no_new_privs=process.get("noNewPrivileges", False)
    )
    encodes(plan)
    joins = places(plan, op.JoinProcess)
    assert all(places(plan, op.ForbidDumps)[0] < join for join in joins)
    # Outside of a cgroup namespace of its own nobody can be born where cgroup2 has nsdelegate.
    (clone,) = places(plan, op.CloneProcess)
    after = [plan.steps[join].operation for join in joins if join > clone]
    assert after == ([op.JoinProcess("process", KINDS["cgroup"])] if "cgroup" in joined else [])
    assert not places(plan, op.NewMount, op.PivotRoot, op.EnterRoot)
