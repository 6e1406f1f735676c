from __future__ import annotations

from typing import Any

import pytest

from cloche.errors import InvalidArgument
from cloche.kernel.cgroups.v1 import writes


def files(resources: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(write.controller, write.file, write.value) for write in writes(resources)]


def test_no_limit_is_no_write() -> None:
    assert files({}) == []
    empty: dict[str, Any] = {"memory": {}, "cpu": {}, "pids": {}, "blockIO": {}, "network": {}, "rdma": {}}
    assert files(empty) == []
    assert (
        files({"memory": {"limit": 0, "swap": 0, "reservation": 0}, "cpu": {"shares": 0, "quota": 0}}) == []
    )


def test_memory() -> None:
    memory = {"limit": 1, "swap": 2, "reservation": 3, "disableOOMKiller": True, "swappiness": 0, "kernel": 9}
    assert files({"memory": memory}) == [
        ("memory", "memory.limit_in_bytes", "1"),
        ("memory", "memory.memsw.limit_in_bytes", "2"),
        ("memory", "memory.soft_limit_in_bytes", "3"),
        ("memory", "memory.oom_control", "1"),
        ("memory", "memory.swappiness", "0"),
    ]


def test_unlimited_memory_is_unlimited_with_swap_too() -> None:
    first, second = writes({"memory": {"limit": -1}})
    assert (first.value, second.file, second.value) == ("-1", "memory.memsw.limit_in_bytes", "-1")
    assert second.optional
    assert not first.optional


def test_swappiness_has_its_range() -> None:
    assert files({"memory": {"swappiness": -1}}) == []
    with pytest.raises(InvalidArgument, match=r"memory\.swappiness: 101"):
        files({"memory": {"swappiness": 101}})


def test_cpu() -> None:
    cpu = {
        "shares": 512,
        "quota": 50000,
        "period": 100000,
        "burst": 0,
        "realtimeRuntime": 950000,
        "realtimePeriod": 1000000,
        "idle": 0,
        "cpus": "0-1",
        "mems": "0",
    }
    assert files({"cpu": cpu}) == [
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_period_us", "100000"),
        ("cpu", "cpu.cfs_quota_us", "50000"),
        ("cpu", "cpu.rt_period_us", "1000000"),
        ("cpu", "cpu.rt_runtime_us", "950000"),
        ("cpu", "cpu.cfs_burst_us", "0"),
        ("cpu", "cpu.idle", "0"),
        ("cpuset", "cpuset.cpus", "0-1"),
        ("cpuset", "cpuset.mems", "0"),
    ]
    assert files({"cpu": {"quota": -1}}) == [("cpu", "cpu.cfs_quota_us", "-1")]


@pytest.mark.parametrize("shares", [1, 262145])
def test_shares_that_the_kernel_would_change_are_refused(shares: int) -> None:
    with pytest.raises(InvalidArgument, match=r"cpu\.shares"):
        files({"cpu": {"shares": shares}})


@pytest.mark.parametrize(("limit", "value"), [(-1, "max"), (0, "1"), (1, "1"), (100, "100")])
def test_a_limit_of_no_pids_is_a_limit(limit: int, value: str) -> None:
    assert files({"pids": {"limit": limit}}) == [("pids", "pids.max", value)]


def test_block_io() -> None:
    device = {"major": 8, "minor": 16}
    block = {
        "weight": 500,
        "leafWeight": 300,
        "weightDevice": [device | {"weight": 600, "leafWeight": 400}],
        "throttleReadBpsDevice": [device | {"rate": 1}],
        "throttleWriteBpsDevice": [device | {"rate": 2}],
        "throttleReadIOPSDevice": [device | {"rate": 3}],
        "throttleWriteIOPSDevice": [device | {"rate": 0}],
    }
    assert files({"blockIO": block}) == [
        ("blkio", "blkio.weight", "500"),
        ("blkio", "blkio.leaf_weight", "300"),
        ("blkio", "blkio.weight_device", "8:16 600"),
        ("blkio", "blkio.leaf_weight_device", "8:16 400"),
        ("blkio", "blkio.throttle.read_bps_device", "8:16 1"),
        ("blkio", "blkio.throttle.write_bps_device", "8:16 2"),
        ("blkio", "blkio.throttle.read_iops_device", "8:16 3"),
        ("blkio", "blkio.throttle.write_iops_device", "8:16 0"),
    ]
    others = [write.otherwise.file for write in writes({"blockIO": block}) if write.otherwise]
    assert others == ["blkio.bfq.weight", "blkio.bfq.weight_device"]


def test_huge_pages_network_and_rdma() -> None:
    resources = {
        "hugepageLimits": [{"pageSize": "2MB", "limit": 9}],
        "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]},
        "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 0}, "mlx4_0": {"hcaObjects": 1000}},
    }
    assert files(resources) == [
        ("hugetlb", "hugetlb.2MB.limit_in_bytes", "9"),
        ("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes", "9"),
        ("net_cls", "net_cls.classid", "1048577"),
        ("net_prio", "net_prio.ifpriomap", "eth0 5"),
        ("rdma", "rdma.max", "mlx5_1 hca_handle=3 hca_object=0"),
        ("rdma", "rdma.max", "mlx4_0 hca_object=1000"),
    ]
