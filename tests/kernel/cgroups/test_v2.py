from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.kernel.cgroups.v2 import cpu_weight, io_weight, swap_limit, writes


def files(resources: dict[str, Any]) -> list[tuple[str, str]]:
    return [(write.file, write.value) for write in writes(resources)]


def test_no_limit_is_no_write() -> None:
    assert files({"memory": {}, "cpu": {}, "pids": {}, "blockIO": {}, "unified": {}}) == []


def test_memory_and_swap_together_become_swap_alone() -> None:
    assert files({"memory": {"limit": 100, "swap": 150, "reservation": 50}}) == [
        ("memory.swap.max", "50"),
        ("memory.max", "100"),
        ("memory.low", "50"),
    ]


@pytest.mark.parametrize(
    ("limit", "swap", "expected"),
    [
        (0, 0, None),
        (100, 0, None),
        (-1, 0, "max"),
        (100, -1, "max"),
        (0, -1, "max"),
        (-1, 50, "50"),
        (7, 7, "0"),
    ],
)
def test_swap(limit: int, swap: int, expected: str | None) -> None:
    assert swap_limit(limit, swap) == expected


@pytest.mark.parametrize(("limit", "swap"), [(100, 99), (0, 100)])
def test_swap_that_contradicts_memory_is_refused(limit: int, swap: int) -> None:
    with pytest.raises(InvalidArgument, match=r"memory\.swap"):
        swap_limit(limit, swap)


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(1, 1), (2, 1), (1024, 100), (262144, 10000), (999999, 10000), (512, 59), (2048, 174)],
)
def test_shares_become_weights_as_under_runc(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight


@given(st.integers(2, 262143))
def test_more_shares_are_never_less_weight(shares: int) -> None:
    assert 1 <= cpu_weight(shares) <= cpu_weight(shares + 1) <= 10000


@given(st.integers(10, 999))
def test_io_weights_stay_in_their_range(weight: int) -> None:
    assert 1 <= io_weight(weight) < io_weight(weight + 1) <= 10000


@pytest.mark.parametrize(
    ("cpu", "value"),
    [
        ({"quota": 50000, "period": 100000}, "50000 100000"),
        ({"quota": 50000}, "50000 100000"),
        ({"period": 50000}, "max 50000"),
        ({"quota": -1}, "max 100000"),
    ],
)
def test_quota_and_period_are_one_file(cpu: dict[str, int], value: str) -> None:
    assert files({"cpu": cpu}) == [("cpu.max", value)]


def test_cpu() -> None:
    cpu = {"shares": 1024, "burst": 0, "idle": 1, "cpus": "0", "mems": "0"}
    assert files({"cpu": cpu}) == [
        ("cpu.idle", "1"),
        ("cpu.weight", "100"),
        ("cpu.max.burst", "0"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
    ]


def test_block_io() -> None:
    device = {"major": 8, "minor": 0}
    block = {
        "weight": 10,
        "weightDevice": [device | {"weight": 1000}],
        "throttleReadBpsDevice": [device | {"rate": 1}],
        "throttleWriteBpsDevice": [device | {"rate": 2}],
        "throttleReadIOPSDevice": [device | {"rate": 3}],
        "throttleWriteIOPSDevice": [device | {"rate": 4}],
    }
    assert files({"blockIO": block}) == [
        ("io.bfq.weight", "10"),
        ("io.bfq.weight", "8:0 1000"),
        ("io.max", "8:0 rbps=1"),
        ("io.max", "8:0 wbps=2"),
        ("io.max", "8:0 riops=3"),
        ("io.max", "8:0 wiops=4"),
    ]
    others = [(w.otherwise.file, w.otherwise.value) for w in writes({"blockIO": block}) if w.otherwise]
    assert others == [("io.weight", "1"), ("io.weight", "8:0 10000")]


def test_huge_pages_and_pids() -> None:
    resources = {"hugepageLimits": [{"pageSize": "1GB", "limit": 0}], "pids": {"limit": -1}}
    assert files(resources) == [
        ("pids.max", "max"),
        ("hugetlb.1GB.max", "0"),
        ("hugetlb.1GB.rsvd.max", "0"),
    ]


def test_the_users_own_words_go_last() -> None:
    resources = {"unified": {"memory.max": "5", "cgroup.max.depth": "2"}, "memory": {"limit": 7}}
    assert files(resources) == [("memory.max", "7"), ("memory.max", "5"), ("cgroup.max.depth", "2")]
    assert [write.controller for write in writes(resources)] == ["memory", "memory", "cgroup"]


@pytest.mark.parametrize("name", ["../memory.max", "a/b.c", "nodot", ""])
def test_what_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="unified"):
        files({"unified": {name: "1"}})
