"""Debian's dockerd with cloche-runc as one of its runtimes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import leftovers
from tests.daemons import Dockerd
from tests.layouts import Layout, tar_directory
from tests.peers import require_root

RUN = ("run", "--runtime", "cloche", "--network", "none")


@pytest.fixture(scope="module")
def docker(
    cloche: str, cloche_runc: str, busybox_rootfs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Dockerd]:
    """A dockerd with an image of busybox that `cloche save` wrote."""
    require_root()
    place = tmp_path_factory.mktemp("docker")
    layout = Layout(place / "layout")
    layout.image("docker.io/library/busybox:latest", [tar_directory(busybox_rootfs)])
    ours = [cloche, "--root", str(place / "root"), "--state", str(place / "state")]
    archive, saved = str(layout.archive(place / "image.tar")), str(place / "saved.tar")
    for words in (["load", "--input", archive], ["save", "--output", saved, "busybox"]):
        subprocess.run([*ours, *words], check=True, capture_output=True)
    with Dockerd(place, cloche_runc) as daemon:
        daemon.ok("load", "--input", saved)
        yield daemon
    leftovers.remove_parent_cgroup("docker")


def test_exit_codes_and_output_arrive(docker: Dockerd) -> None:
    done = docker.docker(*RUN, "--rm", "busybox", "sh", "-c", "echo inside; exit 5")
    assert (done.returncode, done.stdout) == (5, "inside\n")


def test_a_missing_program_is_127(docker: Dockerd) -> None:
    done = docker.docker(*RUN, "--rm", "busybox", "missing")
    assert done.returncode == 127
    assert "executable file not found in $PATH" in done.stderr


def test_a_terminal_is_one(docker: Dockerd) -> None:
    assert docker.ok(*RUN, "--rm", "--tty", "busybox", "tty") == "/dev/pts/0"


def test_a_container_lives(docker: Dockerd) -> None:
    container = docker.ok(*RUN, "--detach", "--memory", "64m", "busybox", "sleep", "1000")
    try:
        assert docker.ok("exec", container, "cat", "/proc/1/comm") == "sleep"
        docker.ok("pause", container)
        assert docker.ok("inspect", "--format", "{{.State.Status}}", container) == "paused"
        docker.ok("unpause", container)
        docker.ok("update", "--memory", "32m", "--memory-swap", "32m", container)
        limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true"
        assert docker.ok("exec", container, "sh", "-c", limit) == str(32 << 20)
        docker.ok("stop", "--time", "1", container)
        assert docker.ok("inspect", "--format", "{{.State.ExitCode}}", container) == "137"
    finally:
        docker.ok("rm", "--force", container)
