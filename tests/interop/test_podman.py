"""Debian's podman with cloche-runc in runc's place."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import leftovers
from tests.bundles import make_rootfs
from tests.peers import peer
from tests.waiting import wait_until

Podman = Callable[..., subprocess.CompletedProcess[str]]

# Without these even runc cannot start where root lacks CAP_SYS_RESOURCE: podman raises both.
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


@pytest.fixture
def place() -> Iterator[str]:
    """A directory whose name is short enough for podman's sockets. Podman leaves a mount in it.

    The clean-up that conmon starts when a container ends goes on after the command that waited
    for it, and would make that mount again behind us.
    """
    directory = tempfile.mkdtemp(prefix="p-")
    yield directory
    wait_until(lambda: not leftovers.speaking_of(directory), what="podman's clean-up to end")
    leftovers.remove_tree(directory)


@pytest.fixture
def podman(root: None, place: str, cloche_runc: str) -> Podman:
    """podman(WORD...): run it on stores of the test's own, with cloche-runc as its runtime."""
    places = ("--root", f"{place}/root", "--runroot", f"{place}/run")
    tuning = (
        "--runtime",
        cloche_runc,
        "--cgroup-manager=cgroupfs",
        "--log-level=error",
        "--events-backend=none",
    )

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [peer("podman"), *places, *tuning, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture
def rootfs(tmp_path: Path) -> str:
    """A root filesystem of the test's own: podman writes into it."""
    return str(make_rootfs(tmp_path / "rootfs"))


def test_it_runs_a_container_and_hands_on_its_exit_code(podman: Podman, rootfs: str) -> None:
    script = "echo $$; hostname; exit 5"
    done = podman(
        "run",
        "--rm",
        "--hostname",
        "glass",
        "--network",
        "none",
        *LIMITS,
        "--rootfs",
        rootfs,
        "sh",
        "-c",
        script,
    )
    assert (done.returncode, done.stdout) == (5, "1\nglass\n"), done.stderr


def test_it_limits_memory_and_drops_capabilities(podman: Podman, rootfs: str) -> None:
    limits = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
    script = f"cat {limits} 2>/dev/null; grep CapEff /proc/self/status"
    options = ("--memory", "64m", "--cap-drop", "all", "--network", "none", *LIMITS)
    done = podman("run", "--rm", *options, "--rootfs", rootfs, "sh", "-c", script)
    assert done.stdout == "67108864\nCapEff:\t0000000000000000\n", done.stderr


def test_it_executes_in_pauses_and_stops_a_detached_container(podman: Podman, rootfs: str) -> None:
    options = ("--detach", "--name", "sleeper", "--network", "none", *LIMITS, "--rootfs", rootfs)
    started = podman("run", *options, "sleep", "600")
    assert started.returncode == 0, started.stderr
    try:
        executed = podman("exec", "--env", "WORD=inside", "sleeper", "sh", "-c", "echo $WORD; exit 3")
        assert (executed.returncode, executed.stdout) == (3, "inside\n"), executed.stderr
        assert podman("pause", "sleeper").returncode == 0
        assert podman("inspect", "--format", "{{.State.Status}}", "sleeper").stdout == "paused\n"
        assert podman("unpause", "sleeper").returncode == 0
        stopped = podman("stop", "--time", "0", "sleeper")
        assert stopped.returncode == 0, stopped.stderr
        assert podman("wait", "sleeper").stdout == "137\n"
    finally:
        removed = podman("rm", "--force", "sleeper")
    assert removed.returncode == 0, removed.stderr


def test_it_reports_a_program_that_is_not_there(podman: Podman, rootfs: str) -> None:
    done = podman("run", "--rm", "--network", "none", *LIMITS, "--rootfs", rootfs, "/no/such/program")
    assert done.returncode == 127
    assert "/no/such/program" in done.stderr
