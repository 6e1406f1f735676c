"""Images that others pushed to a real registry are pulled and run by `cloche`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.machine import Machine
from tests.daemons import Registry
from tests.layouts import Layout, tar_directory


@pytest.fixture
def machine(root: None, cloche: str, tmp_path: Path) -> Machine:
    """Stores of the test's own."""
    return Machine(cloche, tmp_path / "machine")


@pytest.fixture
def pushed(registry: Registry, busybox_rootfs: Path, tmp_path: Path) -> str:
    """The reference of an image that skopeo pushed."""
    layout = Layout(tmp_path / "layout")
    changed = tmp_path / "second"
    (changed / "etc").mkdir(parents=True)
    (changed / "etc" / "motd").write_text("from the second layer\n")
    layers = [tar_directory(busybox_rootfs), tar_directory(changed)]
    layout.image("latest", layers, Entrypoint=["cat"], Cmd=["/etc/motd"])
    return registry.push(f"oci:{layout.path}:latest", "interop/busybox:1.0")


def test_an_image_that_skopeo_pushed_is_pulled_and_run(machine: Machine, pushed: str) -> None:
    machine.ok("pull", "--quiet", pushed)
    assert machine.ok("run", "--rm", pushed) == "from the second layer\n"
    assert machine.ok("run", "--rm", "--entrypoint", "sh", pushed, "-c", "echo $$") == "1\n"


def test_run_pulls_what_is_not_there(machine: Machine, pushed: str) -> None:
    done = machine.run("run", "--rm", pushed)
    assert (done.returncode, done.stdout) == (0, b"from the second layer\n"), done.stderr
    refused = machine.run("run", "--rm", "--pull", "never", pushed.replace("1.0", "2.0"))
    assert refused.returncode == 125
