from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.kernel import mountinfo
from cloche.kernel.cgroups.layout import Hierarchy, Layout, layout, parse_layout, parse_membership

LEGACY = """\
30 20 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
31 20 0:31 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 20 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
"""
V2 = "33 20 0:33 / /sys/fs/cgroup{place} rw - cgroup2 cgroup2 rw\n"
MEMBERSHIP = """\
5:memory:/docker/abc
4:cpu,cpuacct:/
3:pids:/nowhere/mounted
1:name=systemd:/user.slice/odd:name
"""


def parsed(mounts: str, membership: str) -> Layout:
    return parse_layout(mountinfo.parse(mounts.encode()), parse_membership(membership.encode()))


def test_hierarchies_may_be_shared_named_and_missing() -> None:
    found = parsed(LEGACY.format(root="/"), MEMBERSHIP)
    assert found.mode == "legacy"
    assert found.legacy == (
        Hierarchy(("memory",), "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/docker/abc"),
        Hierarchy(("cpu", "cpuacct"), "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct"),
        Hierarchy(("name=systemd",), "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/systemd/user.slice/odd:name"),
    )


@pytest.mark.parametrize(
    ("root", "own"),
    [
        ("/docker/abc", "/sys/fs/cgroup/memory"),
        ("/docker", "/sys/fs/cgroup/memory/abc"),
        ("/docker/a", "/sys/fs/cgroup/memory"),
        ("/other", "/sys/fs/cgroup/memory"),
    ],
)
def test_inside_a_container_only_a_part_of_the_tree_is_mounted(root: str, own: str) -> None:
    found = parsed(LEGACY.format(root=root), MEMBERSHIP)
    assert found.legacy[0].own == own


def test_a_path_outside_of_the_cgroup_namespace_is_not_followed() -> None:
    found = parsed(V2.format(place=""), "0::/../../elsewhere\n")
    assert found.unified == Hierarchy(("",), "/sys/fs/cgroup", "/sys/fs/cgroup")


def test_the_three_modes() -> None:
    legacy, v2 = LEGACY.format(root="/"), V2.format(place="/unified")
    assert parsed(legacy, MEMBERSHIP + "0::/\n").mode == "legacy"
    assert parsed(legacy + v2, MEMBERSHIP + "0::/\n").mode == "hybrid"
    assert parsed(v2, "0::/\n").mode == "unified"


def test_an_absolute_path_is_counted_from_every_root() -> None:
    found = parsed(LEGACY.format(root="/") + V2.format(place="/unified"), MEMBERSHIP + "0::/user\n")
    assert found.directories("/parent/id") == {
        "memory": "/sys/fs/cgroup/memory/parent/id",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct/parent/id",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/parent/id",
        "name=systemd": "/sys/fs/cgroup/systemd/parent/id",
        "": "/sys/fs/cgroup/unified/parent/id",
    }


def test_a_relative_path_is_counted_from_where_the_caller_sits_in_each() -> None:
    found = parsed(LEGACY.format(root="/") + V2.format(place="/unified"), MEMBERSHIP + "0::/user\n")
    places = found.directories("id")
    assert places["memory"] == "/sys/fs/cgroup/memory/docker/abc/id"
    assert places["cpu"] == "/sys/fs/cgroup/cpu,cpuacct/id"
    assert places[""] == "/sys/fs/cgroup/unified/user/id"


def test_on_a_unified_layout_a_relative_path_is_beside_the_caller() -> None:
    found = parsed(V2.format(place=""), "0::/user.slice/session.scope\n")
    assert found.directories("id") == {"": "/sys/fs/cgroup/user.slice/id"}
    assert parsed(V2.format(place=""), "0::/\n").directories("id") == {"": "/sys/fs/cgroup/id"}


@given(st.text(min_size=1))
def test_no_path_leads_out_of_a_hierarchy(path: str) -> None:
    found = parsed(LEGACY.format(root="/"), MEMBERSHIP)
    try:
        places = found.directories(path)
    except InvalidArgument:
        return
    assert places["cpu"].startswith("/sys/fs/cgroup/cpu,cpuacct/")
    for place in places.values():
        assert ".." not in place.split("/")
        assert os.path.normpath(place) == place


@pytest.mark.parametrize("path", ["/", ".", "..", "/..", "a/..", "//", "a\nb", "a\0b"])
def test_a_path_that_names_no_cgroup_is_refused(path: str) -> None:
    with pytest.raises(InvalidArgument, match=r"linux\.cgroupsPath"):
        parsed(LEGACY.format(root="/"), MEMBERSHIP).directories(path)


@given(
    st.dictionaries(
        st.lists(st.text("abcdef=_", min_size=1), min_size=1).map(tuple),
        st.text(st.characters(exclude_characters="\n\r\0", codec="utf-8"))
        .map(lambda path: "/" + path)
        .filter(lambda path: len(path.encode().splitlines()) == 1),
    )
)
def test_memberships_are_read_back(memberships: dict[tuple[str, ...], str]) -> None:
    text = "".join(f"1:{','.join(names)}:{path}\n" for names, path in memberships.items())
    assert parse_membership(text.encode()) == memberships


@given(st.binary())
def test_what_is_no_membership_is_a_value_error(text: bytes) -> None:
    try:
        parse_membership(text)
    except ValueError:
        pass


def test_this_machine_has_the_hierarchies_that_the_kernel_names() -> None:
    found = layout()
    assert found is layout()
    named = parse_membership(Path("/proc/self/cgroup").read_bytes())
    assert {hierarchy.controllers for hierarchy in found.legacy} <= set(named)
    for hierarchy in (*found.legacy, *([found.unified] if found.unified else [])):
        assert Path(hierarchy.mountpoint, "cgroup.procs").exists()
        assert Path(hierarchy.own, "cgroup.procs").exists()
