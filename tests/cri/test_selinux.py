"""Labels of SELinux as texts: kernels that decide by them are elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.cri import pod_spec, selinux
from cloche.cri.inventory import Pod
from cloche.cri.records import KeptPod
from cloche.cri.settings import Handler, Settings
from cloche.errors import InvalidArgument
from cloche.wire.messages.cri.containers import (
    ContainerConfig,
    LinuxContainerConfig,
    LinuxContainerSecurityContext,
)
from cloche.wire.messages.cri.pod_config import (
    LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext,
    PodSandboxConfig,
)
from cloche.wire.messages.cri.values import SELinuxOption

DEFAULTS = ("system_u:system_r:container_t:s0", "system_u:object_r:container_file_t:s0")


@pytest.mark.parametrize(
    ("asked", "process", "mount"),
    [
        (None, "system_u:system_r:container_t:s0:c1,c2", "system_u:object_r:container_file_t:s0:c1,c2"),
        (
            {"type": "spc_t"},
            "system_u:system_r:spc_t:s0:c1,c2",
            "system_u:object_r:container_file_t:s0:c1,c2",
        ),
        (
            {"level": "s0:c9,c10", "user": "u"},
            "u:system_r:container_t:s0:c9,c10",
            "u:object_r:container_file_t:s0:c9,c10",
        ),
        ({"role": "r"}, "system_u:r:container_t:s0:c1,c2", "system_u:object_r:container_file_t:s0:c1,c2"),
    ],
)
def test_options_take_the_place_of_parts_of_the_policys_labels(
    asked: dict[str, str] | None, process: str, mount: str
) -> None:
    option = SELinuxOption(**asked) if asked is not None else None
    assert selinux.labels(option, DEFAULTS, categories="c1,c2") == selinux.Labels(process, mount)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("user", "role", "type", "level"), st.text(max_size=8)))
)
def test_any_options_are_one_label_of_four_parts_or_refused(words: dict[str, str]) -> None:
    try:
        found = selinux.labels(SELinuxOption(**words), DEFAULTS, categories="c1,c2")
    except InvalidArgument:
        return
    for label in (found.process, found.mount):
        assert len(label.split(":", 3)) == 4
        assert label.isascii()
        assert not set(label) & set(" \n\0\"'=/")


def _pod(categories: str, **options: str) -> Pod:
    asked = SELinuxOption(**options) if options else None
    security = LinuxSandboxSecurityContext(selinux_options=asked)
    linux = LinuxPodSandboxConfig(security_context=security)
    return Pod("p", KeptPod(config=PodSandboxConfig(linux=linux), categories=categories))


def _container(**more: Any) -> ContainerConfig:
    return ContainerConfig(linux=LinuxContainerConfig(security_context=LinuxContainerSecurityContext(**more)))


def test_containers_of_a_pod_share_its_level_and_privileged_processes_have_no_label() -> None:
    pod = _pod("c3,c4")
    one, other = selinux.of_pod(pod), selinux.of_container(pod, _container())
    assert one == other
    assert one.process.endswith(":s0:c3,c4")
    assert selinux.of_container(pod, _container(privileged=True)) == one.replace(process="")
    assert selinux.of_container(_pod("c3,c4", level="s0:c8"), _container()).process.endswith(":s0:c8")
    own = _container(selinux_options=SELinuxOption(level="s0:c7"))
    assert selinux.of_container(pod, own).mount.endswith(":s0:c7")


def test_the_pods_holder_has_them_in_its_configuration_and_without_selinux_nobody() -> None:
    handler, settings = Handler("x"), Settings("/r", "/s", {})
    config = pod_spec.build(_pod("c3,c4"), handler, settings, ["/pause"])
    assert config["process"]["selinuxLabel"].endswith(":c3,c4")
    assert config["linux"]["mountLabel"].endswith(":c3,c4")
    config = pod_spec.build(_pod("", level="s0:c8"), handler, settings, ["/pause"])
    assert "selinuxLabel" not in config["process"]
    assert "mountLabel" not in config["linux"]


def test_categories_are_two_and_below_the_limit() -> None:
    for _ in range(50):
        first, second = (int(each.removeprefix("c")) for each in selinux.new_categories(3).split(","))
        assert 0 <= first < second < 3
    with pytest.raises(InvalidArgument, match="selinux_category_range"):
        selinux.new_categories(1)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_tree_is_relabelled_and_the_machines_own_are_not(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "file").touch()
    (tmp_path / "link").symlink_to("/etc/passwd")
    label = "system_u:object_r:container_file_t:s0:c1,c2"
    selinux.relabel(str(tmp_path), label)
    for name in ("", "inner", "inner/file", "link"):
        assert os.getxattr(tmp_path / name, "security.selinux", follow_symlinks=False) == label.encode()
    with pytest.raises(OSError, match="No data"):
        os.getxattr("/etc/passwd", "security.selinux")
    for path in ("/", "/etc", "/proc/self", "/usr"):
        with pytest.raises(InvalidArgument, match="away from the machine"):
            selinux.relabel(path, label)
    with pytest.raises(InvalidArgument, match="cannot be relabelled: No such file"):
        selinux.relabel(f"{tmp_path}/none", label)
