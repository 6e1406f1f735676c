"""cloche-runc as the runtime of Debian's containerd."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import Containerd
from tests.waiting import wait_until


class Containers:
    """Containers of busybox's root filesystem in a containerd that runs them with cloche-runc."""

    def __init__(self, daemon: Containerd, runtime: str, rootfs: Path) -> None:
        self.daemon = daemon
        self.name = f"cloche-test-{uuid.uuid4().hex[:8]}"
        self._flags = ("--rootfs", "--runc-binary", runtime)
        self._rootfs = str(rootfs)

    def run(self, *words: str, flags: tuple[str, ...] = ("--rm",)) -> subprocess.CompletedProcess[str]:
        """`ctr run`."""
        return self.daemon.run("run", *flags, *self._flags, self._rootfs, self.name, *words)

    def start(self, *words: str) -> None:
        """`ctr run --detach`; the container's output goes nowhere."""
        arguments = ("run", "--detach", *self._flags, self._rootfs, self.name, *words)
        nowhere = subprocess.DEVNULL
        subprocess.run(self.daemon.ctr(*arguments), stdin=nowhere, stdout=nowhere, stderr=nowhere, check=True)

    def status(self) -> str:
        """RUNNING, PAUSED or STOPPED; empty where there is no task."""
        lines = self.daemon.run("tasks", "ls").stdout.splitlines()
        return "".join(line.split()[2] for line in lines if line.split()[0] == self.name)


@pytest.fixture
def containers(containerd: Containerd, cloche_runc: str, busybox_rootfs: Path) -> Iterator[Containers]:
    containers = Containers(containerd, cloche_runc, busybox_rootfs)
    yield containers
    containerd.run("tasks", "rm", "--force", containers.name)
    containerd.run("containers", "rm", containers.name)


def test_containerd_runs_a_container(containers: Containers) -> None:
    result = containers.run("/bin/sh", "-c", "echo hello; exit 3")
    assert (result.returncode, result.stdout) == (3, "hello\n"), result.stderr
    assert containers.status() == ""


def test_containerd_shows_why_a_container_did_not_start(containers: Containers) -> None:
    result = containers.run("/nonexistent")
    assert result.returncode != 0
    assert "OCI runtime create failed" in result.stderr
    assert "process.args[0]" in result.stderr


def test_containerd_lives_with_a_container(containers: Containers) -> None:
    name, ctr = containers.name, containers.daemon.run
    containers.start("/bin/sleep", "300")
    assert containers.status() == "RUNNING"
    result = ctr("tasks", "exec", "--exec-id", "one", name, "/bin/sh", "-c", "echo inside; exit 5")
    assert (result.returncode, result.stdout) == (5, "inside\n")
    assert ctr("tasks", "pause", name).returncode == 0
    assert containers.status() == "PAUSED"
    assert ctr("tasks", "resume", name).returncode == 0
    assert "memory.usage_in_bytes" in ctr("tasks", "metrics", name).stdout
    assert ctr("tasks", "kill", "--signal", "KILL", name).returncode == 0
    wait_until(lambda: containers.status() == "STOPPED")
    assert ctr("tasks", "rm", name).returncode in (0, 137)
    assert containers.status() == ""
