from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cloche.errors import FailedPrecondition, InvalidArgument, Unavailable
from cloche.kernel.cgroups import files
from cloche.kernel.cgroups.cgroup import Cgroup
from cloche.kernel.cgroups.layout import Layout, layout
from tests.kernel.cgroups.conftest import Inside, v1_only
from tests.waiting import wait_until

NewCgroup = Callable[..., Cgroup]
V1 = [name for hierarchy in layout().legacy for name in hierarchy.controllers]


def value(cgroup: Cgroup, controller: str, file: str) -> str:
    return Path(cgroup.paths[controller], file).read_text().strip()


def test_directories_are_made_and_removed(cgroup_parent: str) -> None:
    cgroup = Cgroup.create(layout(), f"{cgroup_parent}/a/b")
    assert cgroup.exists()
    assert cgroup.paths
    for name, path in cgroup.paths.items():
        assert path.endswith(f"{cgroup_parent}/a/b"), name
        assert Path(path, "cgroup.procs").exists()
    assert cgroup.processes() == []
    cgroup.destroy()
    assert not any(Path(path).exists() for path in cgroup.paths.values())
    assert not cgroup.exists()
    cgroup.destroy()  # again: nothing to do
    for path in cgroup.paths.values():
        os.rmdir(os.path.dirname(path))


def test_what_was_stored_is_enough_to_find_it_again(new_cgroup: NewCgroup, inside: Inside) -> None:
    cgroup = new_cgroup()
    process = inside(cgroup, "sleep", "60")
    again = Cgroup.load(layout(), cgroup.paths)
    assert again.processes() == [process.pid]


def test_a_plan_touches_nothing(cgroup_parent: str) -> None:
    cgroup = Cgroup.plan(layout(), f"{cgroup_parent}/planned")
    assert not any(Path(path).exists() for path in cgroup.paths.values())


@pytest.mark.usefixtures("root")
def test_a_relative_path_is_below_the_callers_own_cgroups() -> None:
    name = f"cloche-test-{os.getpid()}"
    cgroup = Cgroup.create(layout(), name)
    try:
        for hierarchy in layout().legacy:
            for controller in hierarchy.controllers:
                assert cgroup.paths[controller] == f"{hierarchy.own}/{name}"
                assert Path(hierarchy.own, name, "tasks").exists()
    finally:
        cgroup.destroy()


def test_joining_puts_a_process_into_every_hierarchy(new_cgroup: NewCgroup, inside: Inside) -> None:
    cgroup = new_cgroup()
    process = inside(cgroup, "sleep", "60")
    for controller in V1:
        assert files.read(f"{cgroup.paths[controller]}/cgroup.procs") == str(process.pid), controller
    assert cgroup.processes() == [process.pid]


def test_a_cgroup_that_somebody_lives_in_is_refused(
    new_cgroup: NewCgroup, inside: Inside, cgroup_parent: str
) -> None:
    cgroup = new_cgroup("taken")
    inside(cgroup, "sleep", "60")
    with pytest.raises(FailedPrecondition, match="has 1 processes"):
        Cgroup.create(layout(), f"{cgroup_parent}/taken")
    assert cgroup.exists()


def test_an_empty_cgroup_is_taken_over(new_cgroup: NewCgroup, cgroup_parent: str) -> None:
    new_cgroup("twice")
    Cgroup.create(layout(), f"{cgroup_parent}/twice")


def test_a_failure_half_way_leaves_nothing(cgroup_parent: str, tmp_path: Path) -> None:
    places = layout().directories(f"{cgroup_parent}/x/y")
    last = list(places)[-1]
    (tmp_path / "file").write_text("")
    cgroup = Cgroup(layout(), places | {last: f"{tmp_path}/file/impossible"})
    with pytest.raises(OSError):
        cgroup.make()
    for path in places.values():
        assert not Path(path).exists()
        assert not Path(path).parent.parent.exists()


def test_the_path_of_a_root_is_refused() -> None:
    for path in ("", "/", "/.."):
        with pytest.raises(InvalidArgument):
            Cgroup.create(layout(), path)


@v1_only
def test_limits_are_what_the_kernel_says_afterwards(new_cgroup: NewCgroup) -> None:
    cgroup = new_cgroup()
    resources = {
        "memory": {"limit": 64 << 20, "swap": 128 << 20, "reservation": 32 << 20, "swappiness": 10},
        "cpu": {"shares": 512, "quota": 25000, "period": 50000, "burst": 10000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 33},
        "blockIO": {"throttleReadBpsDevice": [{"major": 254, "minor": 0, "rate": 1 << 30}]},
    }
    assert cgroup.apply(resources) == []
    assert value(cgroup, "memory", "memory.limit_in_bytes") == str(64 << 20)
    assert value(cgroup, "memory", "memory.memsw.limit_in_bytes") == str(128 << 20)
    assert value(cgroup, "memory", "memory.soft_limit_in_bytes") == str(32 << 20)
    assert value(cgroup, "memory", "memory.swappiness") == "10"
    assert value(cgroup, "cpu", "cpu.shares") == "512"
    assert value(cgroup, "cpu", "cpu.cfs_quota_us") == "25000"
    assert value(cgroup, "cpu", "cpu.cfs_period_us") == "50000"
    assert value(cgroup, "cpu", "cpu.cfs_burst_us") == "10000"
    assert value(cgroup, "cpuset", "cpuset.cpus") == "0"
    assert value(cgroup, "pids", "pids.max") == "33"


@v1_only
def test_limits_can_rise_and_fall_whatever_their_order(new_cgroup: NewCgroup) -> None:
    cgroup = new_cgroup()
    for limit, swap in ((64, 64), (256, 512), (32, 48), (-1, -1), (16, 16), (128, -1), (64, 64)):
        size, both = (number << 20 if number > 0 else number for number in (limit, swap))
        cgroup.apply({"memory": {"limit": size, "swap": both}})
        if limit > 0:
            assert value(cgroup, "memory", "memory.limit_in_bytes") == str(size)
        if swap > 0:
            assert value(cgroup, "memory", "memory.memsw.limit_in_bytes") == str(both)
    for quota, period, burst in ((50000, 100000, 40000), (1000, 1000, 0), (900000, 1000000, 900000)):
        cgroup.apply({"cpu": {"quota": quota, "period": period, "burst": burst}})
        assert value(cgroup, "cpu", "cpu.cfs_quota_us") == str(quota)
        assert value(cgroup, "cpu", "cpu.cfs_burst_us") == str(burst)


@v1_only
def test_a_limit_that_the_kernel_refuses_names_its_place(new_cgroup: NewCgroup) -> None:
    cgroup = new_cgroup()
    with pytest.raises(OSError, match=r"cpu\.cpus: '99999'"):
        cgroup.apply({"cpu": {"cpus": "99999"}})
    with pytest.raises(OSError, match=r"cpu\.quota: '5'"):
        cgroup.apply({"cpu": {"quota": 5}})


@v1_only
def test_a_limit_without_its_controller_is_refused_by_name(new_cgroup: NewCgroup) -> None:
    cgroup = new_cgroup()
    without = Cgroup.load(
        layout(), {name: path for name, path in cgroup.paths.items() if name in ("", "pids")}
    )
    with pytest.raises(FailedPrecondition, match=r"memory\.limit: this machine has no 'memory' cgroup"):
        without.apply({"memory": {"limit": 64 << 20}})
    assert without.apply({"memory": {}, "cpu": {}}) == []
    legacy = Cgroup.load(Layout(layout().legacy, None), {"pids": cgroup.paths["pids"]})
    with pytest.raises(FailedPrecondition, match=r"rdma\.mlx: this machine has no 'rdma'"):
        legacy.apply({"rdma": {"mlx": {"hcaHandles": 1}}})
    with pytest.raises(FailedPrecondition, match="no cgroup2"):
        legacy.apply({"unified": {"memory.max": "1"}})


def test_what_cgroup2_cannot_do_is_not_left_out_in_silence(new_cgroup: NewCgroup) -> None:
    cgroup = new_cgroup()
    unified = Cgroup.load(layout(), {name: path for name, path in cgroup.paths.items() if name == ""})
    with pytest.raises(FailedPrecondition, match=r"network\.classID: this machine has no 'net_cls' cgroup"):
        unified.apply({"network": {"classID": 255}})


@pytest.mark.skipif(layout().mode != "hybrid", reason="only a hybrid machine keeps cgroup2 aside")
def test_on_a_hybrid_machine_cgroup2_is_left_as_it_is(new_cgroup: NewCgroup) -> None:
    unified = layout().unified
    assert unified is not None
    control = Path(unified.mountpoint, "cgroup.subtree_control")
    before = control.read_text()
    new_cgroup("one").apply({"pids": {"limit": 5}})
    assert control.read_text() == before
    with pytest.raises(FailedPrecondition, match="has no 'rdma' cgroup"):
        new_cgroup("two").apply({"rdma": {"mlx": {"hcaHandles": 1}}})
    # A controller that cgroup2 has and nobody handed down: taking it would re-plan the host.
    held_back = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}
    if "hugetlb" not in before.split() and "hugetlb" not in cgroup_names():
        with pytest.raises(FailedPrecondition, match="has no 'hugetlb' cgroup"):
            new_cgroup("three").apply(held_back)
    assert control.read_text() == before


def cgroup_names() -> set[str]:
    """The controllers that v1 hierarchies have here."""
    return {name for hierarchy in layout().legacy for name in hierarchy.controllers}


def test_kernel_memory_is_ignored_with_a_warning(new_cgroup: NewCgroup) -> None:
    (warning,) = new_cgroup().apply({"memory": {"kernel": 1 << 20}})
    assert warning.startswith("linux.resources.memory.kernel is ignored")


@v1_only
def test_no_more_processes_than_allowed(new_cgroup: NewCgroup, inside: Inside) -> None:
    cgroup = new_cgroup()
    cgroup.apply({"pids": {"limit": 3}})
    quiet = "sleep 60 > /dev/null 2>&1 &"
    process = inside(cgroup, "dash", "-c", f"{quiet} {quiet} {quiet} echo unreachable")
    assert process.stdout is not None
    assert "cannot fork" in process.stdout.read().lower()
    assert process.wait() != 0
    metrics = cgroup.metrics()
    assert metrics.pids is not None
    assert metrics.pids.limit == 3
    assert metrics.pids.failures >= 1


@v1_only
def test_a_limit_of_zero_pids_lets_nobody_fork(new_cgroup: NewCgroup, inside: Inside) -> None:
    cgroup = new_cgroup()
    cgroup.apply({"pids": {"limit": 0}})
    assert inside(cgroup, "dash", "-c", "true & echo unreachable").wait() != 0


@v1_only
def test_who_takes_too_much_memory_is_killed_and_counted(new_cgroup: NewCgroup, inside: Inside) -> None:
    cgroup = new_cgroup()
    cgroup.apply({"memory": {"limit": 24 << 20, "swap": 24 << 20}})
    process = inside(cgroup, sys.executable, "-I", "-S", "-c", "x = bytearray(64 << 20)")
    assert process.wait() == -signal.SIGKILL
    assert cgroup.oom_kills() == 1
    memory = cgroup.metrics().memory
    assert memory is not None
    assert memory.oom_kills == 1
    assert memory.memory.limit == 24 << 20
    assert 20 << 20 <= memory.memory.peak <= 24 << 20


@v1_only
def test_the_processor_is_rationed(new_cgroup: NewCgroup, inside: Inside) -> None:
    cgroup = new_cgroup()
    cgroup.apply({"cpu": {"quota": 10000, "period": 100000}})
    inside(cgroup, sys.executable, "-I", "-S", "-c", "while True: pass")
    began = time.monotonic()
    wait_until(lambda: getattr(cgroup.metrics().cpu, "throttled_periods", 0) >= 3, what="throttling")
    cpu = cgroup.metrics().cpu
    assert cpu is not None
    assert cpu.throttled_ns > 0
    assert 0 < cpu.total_ns < (time.monotonic() - began + 0.1) * 1e9 * 0.5


@v1_only
def test_devices_are_denied_but_for_the_standard_ones(
    new_cgroup: NewCgroup, inside: Inside, tmp_path: Path
) -> None:
    cgroup = new_cgroup()
    allowed = {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "r"}
    cgroup.apply({"devices": [{"allow": False, "access": "rwm"}, allowed]})
    assert "c 10:200 r" in value(cgroup, "devices", "devices.list").splitlines()
    os.mknod(tmp_path / "kmsg", 0o20666, os.makedev(1, 11))
    script = ": > /dev/null && echo null; head -c1 kmsg 2>&1; mknod new c 1 3; ls"
    process = inside(cgroup, "sh", "-c", f"cd {tmp_path}; {script}")
    assert process.stdout is not None
    said = process.stdout.read()
    assert "null" in said
    assert "Operation not permitted" in said
    assert "new" in said
    again = {"devices": [{"allow": True, "access": "rwm"}]}
    cgroup.apply(again)
    assert value(cgroup, "devices", "devices.list") == "a *:* rwm"


def test_a_busy_cgroup_says_who_is_inside(new_cgroup: NewCgroup, inside: Inside) -> None:
    cgroup = new_cgroup()
    process = inside(cgroup, "sleep", "60")
    with pytest.raises(Unavailable, match=f"pids inside: {process.pid}"):
        cgroup.destroy(timeout_s=0.05)


def test_cgroups_below_are_removed_too(new_cgroup: NewCgroup) -> None:
    cgroup = new_cgroup()
    for path in set(cgroup.paths.values()):
        os.makedirs(f"{path}/a/b")
        os.makedirs(f"{path}/c")
    cgroup.destroy()
    assert not any(Path(path).exists() for path in cgroup.paths.values())


def test_removal_waits_for_the_dying(new_cgroup: NewCgroup, inside: Inside) -> None:
    cgroup = new_cgroup()
    processes = [inside(cgroup, "sleep", "60") for _ in range(5)]
    cgroup.kill()
    for process in processes:
        process.wait()
    cgroup.destroy()
    assert not cgroup.exists()


@v1_only
def test_metrics_speak_of_what_was_done(new_cgroup: NewCgroup, inside: Inside) -> None:
    cgroup = new_cgroup()
    code = "import time; x = bytearray(8 << 20); print('allocated', flush=True); time.sleep(60)"
    process = inside(cgroup, sys.executable, "-I", "-S", "-c", code)
    assert process.stdout is not None
    assert process.stdout.readline() == "allocated\n"
    metrics = cgroup.metrics()
    assert metrics.memory is not None
    assert 8 << 20 < metrics.memory.memory.usage < 64 << 20
    assert metrics.pids is not None
    assert metrics.pids.usage == 1
    assert metrics.cpu is not None
    assert metrics.cpu.total_ns > 0
    assert sum(metrics.cpu.per_cpu_ns) > 0


def test_a_cgroup_that_is_gone_has_no_metrics(cgroup_parent: str) -> None:
    metrics = Cgroup.plan(layout(), f"{cgroup_parent}/gone").metrics()
    assert metrics.values() == (None, None, None, (), {})


@pytest.mark.usefixtures("root")
def test_without_rights_a_rootless_caller_goes_without(cgroup_parent: str) -> None:
    code = f"""
import os
from cloche.kernel.cgroups.cgroup import Cgroup
from cloche.kernel.cgroups.layout import layout
os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
try:
    Cgroup.create(layout(), "{cgroup_parent}/x")
except PermissionError:
    print("refused")
print(Cgroup.create(layout(), "{cgroup_parent}/x", rootless=True).paths)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "refused\n{}\n"
