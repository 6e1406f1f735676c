"""Checkpoints where systemd has the cgroups, and the host's mounts are shared; run inside the guest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bundles import Bundle
from tests.runtime.face.runtimes import unique
from tests.vm.scopes import TREE, Scoped, ours, unit
from tests.waiting import wait_until

__all__ = ["ours", "unit"]

COUNTING = "i=0; while :; do i=$((i+1)); echo $i > /data/count; sleep 0.05; done"


@pytest.mark.parametrize("alone", [True, False])
def test_a_scope_is_left_and_another_is_made(
    ours: Scoped, unit: str, bundle: Bundle, tmp_path: Path, alone: bool
) -> None:
    """With a cgroup namespace of its own and without."""
    kinds = [n for n in bundle.linux["namespaces"] if n["type"] != "cgroup"]
    bundle.linux["namespaces"] = [*kinds, {"type": "cgroup"}] if alone else kinds
    data = tmp_path / "data"
    data.mkdir()
    mount = {"type": "bind", "source": str(data), "destination": "/data", "options": ["rbind"]}
    bundle.config["mounts"].append(mount)
    bundle.command("sh", "-c", COUNTING)
    image = str(tmp_path / "image")
    container_id = unique("scope")
    assert ours.start_detached("run", "-d", "-b", str(bundle.path), container_id) == 0
    wait_until((data / "count").exists)
    done = ours("checkpoint", "--image-path", image, container_id)
    assert done.returncode == 0, done.stderr
    assert not list(TREE.rglob(unit))
    (data / "count").unlink()
    flags = ("--image-path", image, "-b", str(bundle.path))
    assert ours.start_detached("restore", "-d", *flags, container_id) == 0
    wait_until((data / "count").exists)
    pid = ours.state(container_id)["pid"]
    assert Path(f"/proc/{pid}/cgroup").read_text().strip().endswith(f"/{unit}")
    assert ours("delete", "--force", container_id).returncode == 0
    assert not list(TREE.rglob(unit))
