"""Adjustments laid over a config.json, and what plugins are told of one."""

from __future__ import annotations

from typing import Any

import pytest

from cloche.cri.inventory import Container
from cloche.cri.nri import limits
from cloche.cri.nri.adjusting import adjust
from cloche.cri.nri.describing import container_of
from cloche.cri.records import KeptContainer
from cloche.errors import InvalidArgument, Unimplemented
from cloche.spec.validate import validate
from cloche.wire.messages.cri.resources import LinuxContainerResources
from cloche.wire.messages.nri import containers, linux, resources, values
from cloche.wire.messages.nri.adjustments import ContainerAdjustment, LinuxContainerAdjustment
from cloche.wire.messages.nri.values import KeyValue, OptionalBool, OptionalInt64, OptionalUInt64


def config() -> Any:
    """A config.json of a container."""
    return {
        "ociVersion": "1.0.2",
        "process": {"args": ["true"], "cwd": "/", "env": ["A=1", "B=2"], "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "annotations": {"old": "1"},
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "pid", "path": "/proc/1/ns/pid"}],
            "resources": {},
        },
    }


LIMITS = resources.LinuxResources(
    memory=resources.LinuxMemory(
        limit=OptionalInt64(value=1 << 20),
        reservation=OptionalInt64(value=1 << 19),
        swap=OptionalInt64(value=1 << 21),
        swappiness=OptionalUInt64(value=0),
        disable_oom_killer=OptionalBool(value=True),
    ),
    cpu=resources.LinuxCPU(
        shares=OptionalUInt64(value=10),
        quota=OptionalInt64(value=-1),
        period=OptionalUInt64(value=1000),
        cpus="0-1",
    ),
    hugepage_limits=[resources.HugepageLimit(page_size="2MB", limit=4)],
    unified={"memory.high": "5"},
    devices=[
        resources.LinuxDeviceCgroup(allow=True, type="c", major=OptionalInt64(value=1), access="r"),
    ],
    pids=resources.LinuxPids(limit=7),
)


def test_everything_that_is_set_is_what_plugins_are_told_afterwards() -> None:
    wanted = LinuxContainerAdjustment(
        devices=[
            linux.LinuxDevice(
                path="/dev/x",
                type="b",
                major=8,
                minor=1,
                file_mode=values.OptionalFileMode(value=0o600),
                uid=values.OptionalUInt32(value=3),
            )
        ],
        cgroups_path="/there",
        oom_score_adj=values.OptionalInt(value=-5),
        io_priority=linux.LinuxIOPriority(io_class=2, priority=4),
        seccomp_policy=linux.LinuxSeccomp(
            default_action="SCMP_ACT_ALLOW",
            default_errno=values.OptionalUInt32(value=1),
            architectures=["SCMP_ARCH_X86_64"],
            syscalls=[
                linux.LinuxSyscall(
                    names=["mkdir"],
                    action="SCMP_ACT_ERRNO",
                    errno_ret=values.OptionalUInt32(value=13),
                    args=[linux.LinuxSeccompArg(index=1, value=2, value_two=3, op="SCMP_CMP_MASKED_EQ")],
                )
            ],
        ),
        sysctl={"kernel.shm_rmid_forced": "1"},
        net_devices={"eth1": linux.LinuxNetDevice(name="inside")},
        scheduler=linux.LinuxScheduler(policy=6, nice=3, flags=[0]),
        rdt=linux.LinuxRdt(
            clos_id=values.OptionalString(value="c"),
            schemata=values.OptionalRepeatedString(value=["L3:0=f"]),
            enable_monitoring=OptionalBool(value=True),
        ),
        resources=LIMITS,
    )
    document = config()
    document["linux"]["namespaces"] += [{"type": "ipc"}, {"type": "network"}]
    hooks = containers.Hooks(create_runtime=[containers.Hook(path="/h", timeout=values.OptionalInt(value=2))])
    adjust(document, ContainerAdjustment(hooks=hooks, linux=wanted))
    validate(document)
    told = container_of(Container("id", KeptContainer()), document, made=False)
    assert told.linux is not None
    for name in ("devices", "cgroups_path", "oom_score_adj", "io_priority", "seccomp_policy", "sysctl"):
        assert getattr(told.linux, name) == getattr(wanted, name), name
    for name in ("net_devices", "scheduler", "rdt"):
        assert getattr(told.linux, name) == getattr(wanted, name), name
    rule = told.linux.resources.devices[0]  # type: ignore[union-attr]  # that of the device itself
    assert (rule.access, rule.major.value) == ("rwm", 8)  # type: ignore[union-attr]  # the test sets it
    assert limits.from_config(limits.to_config(LIMITS) | {"devices": []}) == resources.LinuxResources(
        **vars(LIMITS) | {"devices": []}
    )
    assert told.hooks == hooks


def test_what_is_removed_is_gone_and_the_rest_stays_where_it_was() -> None:
    document = config()
    changes = ContainerAdjustment(
        annotations={"-old": "", "new": "2"},
        env=[KeyValue(key="-A"), KeyValue(key="B", value="3"), KeyValue(key="C", value="4")],
        mounts=[containers.Mount(destination="-/proc"), containers.Mount(destination="/a/b", type="tmpfs")],
        linux=LinuxContainerAdjustment(
            namespaces=[linux.LinuxNamespace(type="-pid"), linux.LinuxNamespace(type="ipc", path="/x")]
        ),
    )
    adjust(document, changes)
    assert document["annotations"] == {"new": "2"}
    assert document["process"]["env"] == ["B=3", "C=4"]
    assert [each["destination"] for each in document["mounts"]] == ["/a/b"]
    assert document["linux"]["namespaces"] == [{"type": "mount"}, {"type": "ipc", "path": "/x"}]


def test_mounts_come_after_those_that_they_lie_in_and_limits_of_one_kind_replace_each_other() -> None:
    document = config()
    mounts = [containers.Mount(destination=path, type="tmpfs") for path in ("/a/b", "/a")]
    limit = containers.POSIXRlimit(type="RLIMIT_CORE", soft=1, hard=2)
    adjust(document, ContainerAdjustment(mounts=mounts, rlimits=[limit]))
    adjust(document, ContainerAdjustment(rlimits=[limit]))
    assert [each["destination"] for each in document["mounts"]] == ["/proc", "/a", "/a/b"]
    assert document["process"]["rlimits"] == [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduler": linux.LinuxScheduler(policy=99)}, "scheduler.policy: 99 means nothing"),
        ({"scheduler": linux.LinuxScheduler(policy=1, flags=[-1])}, "scheduler.flags: -1 means nothing"),
        ({"memory_policy": linux.LinuxMemoryPolicy(mode=7)}, "memory_policy.mode: 7 means nothing"),
    ],
    ids=["policy", "flag", "mode"],
)
def test_a_number_that_the_protocol_does_not_have_is_refused(changes: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        adjust(config(), ContainerAdjustment(linux=LinuxContainerAdjustment(**changes)))


def test_classes_of_block_io_are_refused_and_those_of_rdt_are_set() -> None:
    blockio = resources.LinuxResources(blockio_class=values.OptionalString(value="slow"))
    with pytest.raises(Unimplemented, match="blockio_class 'slow'"):
        adjust(config(), ContainerAdjustment(linux=LinuxContainerAdjustment(resources=blockio)))
    rdt = resources.LinuxResources(rdt_class=values.OptionalString(value="gold"))
    document = config()
    adjust(document, ContainerAdjustment(linux=LinuxContainerAdjustment(resources=rdt)))
    assert document["linux"]["intelRdt"] == {"closID": "gold"}


def test_a_memory_limit_counts_swap_too_unless_swap_is_set() -> None:
    limited = resources.LinuxResources(memory=resources.LinuxMemory(limit=OptionalInt64(value=5)))
    unlimited = resources.LinuxResources(memory=resources.LinuxMemory(limit=OptionalInt64(value=0)))
    assert limits.to_config(limited)["memory"].get("swap", 5) == 5
    assert limits.to_config(unlimited) == {}


@pytest.mark.parametrize(
    ("limit", "swap", "expected"), [(5, None, 8), (6, None, None), (5, 7, 7)], ids=["kept", "moot", "set"]
)
def test_swap_that_a_client_asks_for_is_kept_beside_the_same_memory(
    limit: int, swap: int | None, expected: int | None
) -> None:
    asked = LinuxContainerResources(memory_limit_in_bytes=5, memory_swap_limit_in_bytes=8)
    memory = resources.LinuxMemory(limit=OptionalInt64(value=limit))
    memory.swap = OptionalInt64(value=swap) if swap else None
    limits.keep_swap(resources.LinuxResources(memory=memory), asked)
    assert (memory.swap.value if memory.swap else None) == expected
