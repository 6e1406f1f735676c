"""What several plugins want, made into one: conflicts, removals, and limits of other containers."""

from __future__ import annotations

from typing import Any

import pytest

from cloche.cri.nri.combining import Adjustments, Updates
from cloche.cri.nri.owners import Owners
from cloche.errors import InvalidArgument
from cloche.wire.messages.nri import containers, linux, resources, values
from cloche.wire.messages.nri.adjustments import (
    FIELDS,
    ContainerAdjustment,
    ContainerUpdate,
    LinuxContainerAdjustment,
    LinuxContainerUpdate,
)
from cloche.wire.messages.nri.values import KeyValue, OptionalInt64, OptionalUInt64


def lower(**changes: Any) -> ContainerAdjustment:
    """An adjustment of what only Linux has."""
    return ContainerAdjustment(linux=LinuxContainerAdjustment(**changes))


def limits(**changes: Any) -> ContainerAdjustment:
    """An adjustment of limits."""
    return lower(resources=resources.LinuxResources(**changes))


def memory(**changes: Any) -> resources.LinuxResources:
    """Limits of memory."""
    return resources.LinuxResources(memory=resources.LinuxMemory(**changes))


SMALL, NUMBER = OptionalInt64(value=1), OptionalUInt64(value=1)
ONCE = {
    "annotation 'a'": ContainerAdjustment(annotations={"a": "1"}),
    "mount '/m'": ContainerAdjustment(mounts=[containers.Mount(destination="/m")]),
    "environment variable 'A'": ContainerAdjustment(env=[KeyValue(key="A")]),
    "args": ContainerAdjustment(args=["a"]),
    "rlimit 'RLIMIT_CPU'": ContainerAdjustment(rlimits=[containers.POSIXRlimit(type="RLIMIT_CPU")]),
    "CDI device 'v/c=d'": ContainerAdjustment(cdi_devices=[containers.CDIDevice(name="v/c=d")]),
    "device '/dev/d'": lower(devices=[linux.LinuxDevice(path="/dev/d")]),
    "memory limit": limits(memory=resources.LinuxMemory(limit=SMALL)),
    "memory swappiness": limits(memory=resources.LinuxMemory(swappiness=NUMBER)),
    "CPU shares": limits(cpu=resources.LinuxCPU(shares=NUMBER)),
    "CPU mems": limits(cpu=resources.LinuxCPU(mems="0")),
    "pids limit": limits(pids=resources.LinuxPids(limit=1)),
    "hugepage limit '2MB'": limits(hugepage_limits=[resources.HugepageLimit(page_size="2MB")]),
    "unified cgroup parameter 'a.b'": limits(unified={"a.b": "1"}),
    "blockio class": limits(blockio_class=values.OptionalString(value="a")),
    "RDT class": limits(rdt_class=values.OptionalString(value="a")),
    "cgroups path": lower(cgroups_path="/a"),
    "oom_score_adj": lower(oom_score_adj=values.OptionalInt(value=0)),
    "I/O priority": lower(io_priority=linux.LinuxIOPriority(io_class=1)),
    "seccomp policy": lower(seccomp_policy=linux.LinuxSeccomp()),
    "namespace 'ipc'": lower(namespaces=[linux.LinuxNamespace(type="ipc")]),
    "sysctl 'a.b'": lower(sysctl={"a.b": "1"}),
    "network device 'eth1'": lower(net_devices={"eth1": linux.LinuxNetDevice()}),
    "scheduler": lower(scheduler=linux.LinuxScheduler()),
    "RDT clos_id": lower(rdt=linux.LinuxRdt(clos_id=values.OptionalString(value="a"))),
    "memory policy": lower(memory_policy=linux.LinuxMemoryPolicy()),
}
REMOVALS = {
    "annotations": ContainerAdjustment(annotations={"-a": "", "a": "2"}),
    "mounts": ContainerAdjustment(
        mounts=[containers.Mount(destination="-/m"), containers.Mount(destination="/m", type="tmpfs")]
    ),
    "env": ContainerAdjustment(env=[KeyValue(key="-A"), KeyValue(key="A", value="2")]),
    "args": ContainerAdjustment(args=["", "b"]),
}
FIRST = {
    "annotations": ONCE["annotation 'a'"],
    "mounts": ONCE["mount '/m'"],
    "env": ONCE["environment variable 'A'"],
    "args": ONCE["args"],
}


@pytest.mark.parametrize("what", ONCE)
def test_one_plugin_may_set_it_and_a_second_must_not(what: str) -> None:
    assert what.partition(" '")[0] in FIELDS
    found = Adjustments("id")
    found.add(ONCE[what], "10-a")
    assert found.combined().encode() != Adjustments("id").combined().encode()
    with pytest.raises(InvalidArgument, match=f"'10-a' and '20-b' both set {what}"):
        found.add(ONCE[what], "20-b")


@pytest.mark.parametrize("field", REMOVALS)
def test_who_removes_it_first_may_set_it_anew(field: str) -> None:
    found = Adjustments("id")
    found.add(FIRST[field], "10-a")
    found.add(REMOVALS[field], "20-b")
    combined = getattr(found.combined(), field)
    assert "20-b" in str(found.owners.told())
    assert "10-a" not in str(found.owners.told())
    assert len(combined) == 1
    with pytest.raises(InvalidArgument, match="'20-b' and '30-c'"):
        found.add(FIRST[field], "30-c")


def test_what_one_has_removed_another_must_not_set() -> None:
    found = Adjustments("id")
    found.add(FIRST["env"], "10-a")
    found.add(ContainerAdjustment(env=[KeyValue(key="-A")]), "20-b")
    assert found.owners.told().owners["id"].compound == {}
    with pytest.raises(InvalidArgument, match="'20-b' and '30-c' both set environment variable 'A'"):
        found.add(FIRST["env"], "30-c")
    found.add(REMOVALS["env"], "30-c")
    assert found.combined().env == [KeyValue(key="A", value="2")]


def test_hooks_of_all_plugins_are_there_and_all_of_them_are_said_to_have_set_them() -> None:
    found = Adjustments("id")
    for plugin in ("10-a", "20-b"):
        found.add(
            ContainerAdjustment(hooks=containers.Hooks(poststop=[containers.Hook(path=f"/{plugin}")])), plugin
        )
    hooks = found.combined().hooks
    assert [each.path for each in hooks.poststop] == ["/10-a", "/20-b"]  # type: ignore[union-attr]  # the test sets it
    assert found.owners.told().owners["id"].simple == {FIELDS.index("OCI hooks"): "10-a,20-b"}


def test_rdt_that_is_removed_can_be_set_by_another() -> None:
    found = Adjustments("id")
    found.add(ONCE["RDT clos_id"], "10-a")
    clos = values.OptionalString(value="b")
    found.add(lower(rdt=linux.LinuxRdt(remove=True, clos_id=clos)), "20-b")
    rdt = found.combined().linux.rdt  # type: ignore[union-attr]  # the test sets it
    assert (rdt.remove, rdt.clos_id.value) == (True, "b")  # type: ignore[union-attr]  # the test sets it


def update(container: str, wanted: resources.LinuxResources, **more: Any) -> ContainerUpdate:
    """New limits of a container."""
    return ContainerUpdate(container_id=container, linux=LinuxContainerUpdate(resources=wanted), **more)


def test_updates_of_one_container_become_one() -> None:
    updates = Updates(Owners(), made="new")
    updates.add([update("old", memory(limit=SMALL))], "10-a")
    updates.add([update("old", memory(swap=SMALL)), update("other", memory(limit=SMALL))], "20-b")
    first, second = updates.combined()
    assert (first.container_id, second.container_id) == ("old", "other")
    assert first.linux.resources.memory == resources.LinuxMemory(limit=SMALL, swap=SMALL)  # type: ignore[union-attr]  # the test sets it
    with pytest.raises(InvalidArgument, match="both set memory limit"):
        updates.add([update("old", memory(limit=SMALL))], "20-b")
    wanted = memory(limit=SMALL, reservation=SMALL)
    updates.add([update("old", wanted, ignore_failure=True)], "20-b")
    assert updates.combined()[0].linux.resources.memory.reservation is None  # type: ignore[union-attr]  # the test sets it
    updates.add([update("old", memory(reservation=SMALL))], "30-c")
    with pytest.raises(InvalidArgument, match="which is being made"):
        updates.add([update("new", memory(limit=SMALL))], "20-b")


def test_the_limits_that_are_asked_about_are_kept_apart_and_laid_over_what_was_asked_for() -> None:
    asked = resources.LinuxResources(cpu=resources.LinuxCPU(cpus="0"))
    updates = Updates(Owners(), updated=("id", asked))
    before = updates.of_updated
    updates.add([update("id", memory(limit=SMALL))], "10-a")
    found = updates.of_updated or resources.LinuxResources()
    assert before is None
    assert (found.cpu, found.memory) == (asked.cpu, resources.LinuxMemory(limit=SMALL))
    assert updates.combined() == []
