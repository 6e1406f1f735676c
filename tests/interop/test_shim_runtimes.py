"""Other projects' runtimes by their BinaryName, executed by our shim under Debian's containerd."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import Containerd
from tests.layouts import Layout, tar_directory
from tests.peers import require_root
from tests.shim.runtimes import NAMES, runtime
from tests.shim.starting import Shims, alive, parent
from tests.waiting import wait_until

IMAGE = "test.example/shim-runtimes:latest"
STATE = "state/io.containerd.runtime.v2.task/default"


@pytest.fixture(scope="module")
def daemon(busybox_rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """A containerd with an image of busybox, for which our shim is `io.containerd.runc.v2`.

    With another name than this, Debian's ctr takes no --runc-binary.
    """
    require_root()
    directory = tmp_path_factory.mktemp("containerd")
    programs = tmp_path_factory.mktemp("programs")
    layout = Layout(directory / "layout")
    layout.image(IMAGE, [tar_directory(busybox_rootfs)])
    archive = layout.archive(directory / "image.tar")
    with Shims(directory) as shims:
        shim = programs / "containerd-shim-runc-v2"
        shim.write_text(f'#!/bin/sh\nexec {shims.program} "$@"\n')
        shim.chmod(0o755)
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "CLOCHE_STATE": str(shims.state)}
        with Containerd(directory, environment) as containerd:
            imported = containerd.run("images", "import", str(archive))
            assert imported.returncode == 0, imported.stderr
            yield containerd
            containerd.run("images", "rm", "--sync", IMAGE)


@pytest.mark.parametrize("name", NAMES)
def test_a_container_of_another_runtime_lives_from_run_to_delete(
    daemon: Containerd, tmp_path: Path, name: str
) -> None:
    program = runtime(name, tmp_path)
    options = ["--runc-binary", program, "--runc-root", str(tmp_path / "root")]
    container = f"{name}-{os.urandom(4).hex()}"
    once = daemon.run("run", "--rm", *options, IMAGE, f"{container}-once", "sh", "-c", "echo out; exit 5")
    assert (once.returncode, once.stdout) == (5, "out\n"), once.stderr
    started = daemon.run("run", "--detach", *options, IMAGE, container, "sleep", "1000")
    assert started.returncode == 0, started.stderr
    bundle = daemon.directory / STATE / container
    try:
        shim = int((bundle / "shim.pid").read_text())
        assert Path(f"/proc/{shim}/comm").read_text().startswith("containerd-shim")
        assert parent(int((bundle / "init.pid").read_text())) == shim
        assert str(bundle / "rootfs") in Path("/proc/self/mountinfo").read_text()
        inside = daemon.run("tasks", "exec", "--exec-id", "e", container, "sh", "-c", "echo in; exit 3")
        assert (inside.returncode, inside.stdout) == (3, "in\n"), inside.stderr
        assert daemon.run("tasks", "metrics", container).returncode == 0
        for action in ("pause", "resume"):
            done = daemon.run("tasks", action, container)
            assert done.returncode == 0, done.stderr
        killed = daemon.run("tasks", "kill", "--signal", "KILL", "--all", container)
        assert killed.returncode == 0, killed.stderr
        wait_until(lambda: "STOPPED" in daemon.run("tasks", "ls").stdout)
    finally:
        daemon.run("tasks", "rm", "--force", container)
        assert daemon.run("containers", "rm", container).returncode == 0
    wait_until(lambda: not bundle.exists())
    assert str(bundle) not in Path("/proc/self/mountinfo").read_text()
    assert not list((tmp_path / "root").glob("default/*"))


@pytest.mark.parametrize("name", NAMES)
def test_what_a_killed_shim_leaves_of_a_runtime_is_cleaned_up(
    daemon: Containerd, tmp_path: Path, name: str
) -> None:
    options = ["--runc-binary", runtime(name, tmp_path), "--runc-root", str(tmp_path / "root")]
    container = f"{name}-{os.urandom(4).hex()}"
    started = daemon.run("run", "--detach", *options, IMAGE, container, "sleep", "1000")
    assert started.returncode == 0, started.stderr
    bundle = daemon.directory / STATE / container
    pid = int((bundle / "init.pid").read_text())
    os.kill(int((bundle / "shim.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: not alive(pid), what="the container to be killed")
    wait_until(lambda: not bundle.exists(), what="the bundle to be removed")
    assert str(bundle) not in Path("/proc/self/mountinfo").read_text()
    wait_until(lambda: not list((tmp_path / "root").glob("default/*")), what="the runtime to forget it")
    assert daemon.run("containers", "rm", container).returncode == 0


def test_a_runtime_that_is_not_there_is_named(daemon: Containerd) -> None:
    done = daemon.run("run", "--rm", "--runc-binary", "/nowhere/runc", IMAGE, "lost", "true")
    assert done.returncode != 0
    assert "the runtime '/nowhere/runc' is not there" in done.stderr


def test_a_program_that_is_missing_is_said_in_the_runtimes_words(daemon: Containerd, tmp_path: Path) -> None:
    options = ["--runc-binary", runtime("runc", tmp_path), "--runc-root", str(tmp_path / "root")]
    done = daemon.run("run", "--rm", *options, IMAGE, "missing", "no-such-program")
    assert done.returncode != 0
    assert 'exec: "no-such-program": executable file not found in $PATH' in done.stderr
