"""Names, properties and annotations of systemd units; that systemd takes them is shown in tests/vm."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.kernel.cgroups.systemd_annotations import annotated_properties
from cloche.kernel.cgroups.systemd_bus import addresses
from cloche.kernel.cgroups.systemd_properties import (
    INFINITY,
    bits,
    device_properties,
    resource_properties,
    with_whole_percents,
)
from cloche.kernel.cgroups.systemd_unit import Unit, slice_path, unit_for
from cloche.wire.dbus_values import Variant


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("machine.slice:libpod:12", Unit("libpod-12.scope", "machine.slice")),
        ("kubepods-burstable-pod1.slice:cri:12", Unit("cri-12.scope", "kubepods-burstable-pod1.slice")),
        (":docker:12", Unit("docker-12.scope", "system.slice")),
        ("-.slice::12", Unit("12.scope", "-.slice")),
        ("", Unit("runc-the-id.scope", "system.slice")),
    ],
)
def test_a_path_names_a_slice_and_a_scope(path: str, unit: Unit) -> None:
    assert unit_for(path, "the-id", user=False) == unit


def test_a_user_has_a_slice_of_his_own() -> None:
    assert unit_for("", "the-id", user=True) == Unit("runc-the-id.scope", "user.slice", True)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/absolute/path", "slice:prefix:name"),
        ("a.slice:b", "slice:prefix:name"),
        ("a:b:c", "'a' is not the name of a slice"),
        ("a--b.slice:b:c", "is not the name of a slice"),
        (".slice:b:c", "is not the name of a slice"),
        ("a/b.slice:b:c", "is not the name of a slice"),
        ("a.slice:b:c.slice", "processes can only be in a scope"),
        ("a.slice:b:c/d", "cannot be a unit's name"),
        ("a.slice:b:", "cannot be a unit's name"),
        (f"a.slice:b:{'c' * 250}", "cannot be a unit's name"),
    ],
)
def test_what_names_no_unit_is_refused(path: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        unit_for(path, "the-id", user=False)


@pytest.mark.parametrize(
    ("name", "path"),
    [("-.slice", "/"), ("a.slice", "/a.slice"), ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice")],
)
def test_dashes_in_a_slices_name_are_its_path(name: str, path: str) -> None:
    assert slice_path(name) == path


@given(st.text(max_size=30))
def test_any_path_is_a_unit_or_refused(path: str) -> None:
    try:
        unit = unit_for(path, "id", user=False)
    except InvalidArgument:
        return
    assert unit.name.endswith(".scope")
    assert "/" not in unit.name


def properties(resources: dict[str, Any], *, unified: bool = True) -> dict[str, Any]:
    """Names and plain values."""
    return {name: variant.value for name, variant in resource_properties(resources, unified=unified)}


def test_limits_of_a_unified_machine() -> None:
    assert properties(
        {
            "memory": {"limit": 1 << 20, "swap": 3 << 20, "reservation": 1 << 19},
            "cpu": {"shares": 1024, "quota": 50000, "period": 100000, "cpus": "0,2-3", "mems": "0"},
            "pids": {"limit": 0},
        }
    ) == {
        "MemoryMax": 1 << 20,
        "MemorySwapMax": 2 << 20,
        "MemoryLow": 1 << 19,
        "CPUWeight": 100,
        "CPUQuotaPeriodUSec": 100000,
        "CPUQuotaPerSecUSec": 500000,
        "TasksMax": 1,
        "AllowedCPUs": b"\x0d",
        "AllowedMemoryNodes": b"\x01",
    }


def test_limits_of_a_machine_with_v1() -> None:
    resources = {
        "memory": {"limit": 1 << 20},
        "cpu": {"shares": 512, "quota": -1, "period": 50000},
        "blockIO": {"weight": 300},
        "pids": {"limit": -1},
    }
    assert properties(resources, unified=False) == {
        "MemoryLimit": 1 << 20,
        "CPUShares": 512,
        "CPUQuotaPeriodUSec": 50000,
        "CPUQuotaPerSecUSec": INFINITY,
        "BlockIOWeight": 300,
        "TasksMax": INFINITY,
    }


def test_words_of_the_unified_hierarchy_are_translated_where_systemd_has_some() -> None:
    files = {
        "memory.high": "max",
        "memory.min": "4096",
        "cpu.max": "20000 50000",
        "cpu.weight": " 50 ",
        "cpuset.cpus": "1",
        "pids.max": "0",
        "memory.oom.group": "1",
        "hugetlb.2MB.max": "0",
    }
    assert properties({"unified": files}) == {
        "MemoryHigh": INFINITY,
        "MemoryMin": 4096,
        "CPUQuotaPeriodUSec": 50000,
        "CPUQuotaPerSecUSec": 400000,
        "CPUWeight": 50,
        "AllowedCPUs": b"\x02",
        "TasksMax": 1,
        "OOMPolicy": "kill",
    }


@pytest.mark.parametrize("resources", [{"cpu": {"idle": 1, "shares": 5}}, {"unified": {"cpu.idle": "1"}}])
def test_idle_is_a_weight_of_zero(resources: dict[str, Any]) -> None:
    assert properties(resources) == {"CPUWeight": 0}


def test_a_quota_is_in_whole_percents() -> None:
    assert properties({"cpu": {"quota": 33333}}) == {"CPUQuotaPerSecUSec": 340000}
    assert with_whole_percents({"cpu": {"quota": 33333}, "pids": {}}) == {"cpu": {"quota": 34000}, "pids": {}}
    assert with_whole_percents({"cpu": {"quota": -1}}) == {"cpu": {"quota": -1}}


@pytest.mark.parametrize("ranges", ["", ",", "0-", "a", "3-1", "-1", "99999", "0-3:2"])
def test_a_list_that_is_none_is_refused(ranges: str) -> None:
    with pytest.raises(InvalidArgument, match="the place"):
        bits(ranges, "the place")


@given(st.sets(st.integers(0, 300), min_size=1))
def test_a_list_becomes_its_bits(numbers: set[int]) -> None:
    mask = int.from_bytes(bits(",".join(map(str, numbers)), ""), "little")
    assert {number for number in range(400) if mask >> number & 1} == numbers


def test_devices_are_named_as_systemd_does() -> None:
    rules = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "b", "major": 8, "minor": 1, "access": "rw"},
        {"allow": True, "type": "c", "major": 10, "access": "rwm"},
        {"allow": True, "type": "c", "minor": 7, "access": "r"},
    ]
    policy, cleared, (name, allowed) = device_properties(rules)
    assert policy == ("DevicePolicy", Variant("s", "strict"))
    assert cleared == ("DeviceAllow", Variant("a(ss)", []))
    assert name == "DeviceAllow"
    assert {("/dev/block/8:1", "rw"), ("char-10", "rwm"), ("char-*", "m")} <= set(allowed.value)
    assert all(access for _, access in allowed.value)


def test_what_allows_everything_is_no_policy() -> None:
    assert next(device_properties([{"allow": True, "access": "rwm"}]))[1] == Variant("s", "auto")


def test_annotations_are_properties() -> None:
    annotations = {
        "org.systemd.property.TimeoutStopSec": "uint64 7",
        "org.systemd.property.CollectMode": "'inactive'",
        "org.systemd.property.After": "['a.service', 'b.service']",
        "other": "x",
    }
    assert dict(annotated_properties(annotations)) == {
        "TimeoutStopUSec": Variant("t", 7_000_000),
        "CollectMode": Variant("s", "inactive"),
        "After": Variant("as", ["a.service", "b.service"]),
    }


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("TimeoutStopSec", "'soon'", "is a number of seconds"),
        ("TimeoutStopSec", "-1", "seconds that can be"),
        ("X", "true", "not the name of a unit's property"),
        ("A.b", "true", "not the name of a unit's property"),
        ("CollectMode", "inactive", "a value instead of 'inactive'"),
    ],
)
def test_an_annotation_that_means_nothing_is_named(name: str, text: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"annotations\[org.systemd.property.{name}\].*{reason}"):
        list(annotated_properties({f"org.systemd.property.{name}": text}))


def test_the_users_bus_is_found_by_his_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/5")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "tcp:host=a;unix:path=/a%20b,guid=1;unix:abstract=x")
    assert addresses(user=True) == ["/run/user/5/systemd/private", "/a b", "\0x", "/run/user/5/bus"]
