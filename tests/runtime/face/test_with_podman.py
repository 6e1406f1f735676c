"""cloche-runc as the runtime of Debian's podman."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import peers
from tests.waiting import wait_until

TIMEOUT_S = 60
# Without the two limits podman asks for more than root without CAP_SYS_RESOURCE may have.
LIMITS = ("--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


class Podman:
    """Debian's podman on storage of its own."""

    def __init__(self, runtime: str, directory: Path, rootfs: Path) -> None:
        self.rootfs = rootfs
        self._words = [
            peers.peer("podman"),
            *("--root", str(directory / "storage"), "--runroot", str(directory / "run")),
            *("--runtime", runtime, "--cgroup-manager=cgroupfs", "--events-backend=none"),
            *("--log-level=error",),
        ]

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._words, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )

    def run(self, *words: str, flags: tuple[str, ...] = ("--rm",)) -> subprocess.CompletedProcess[str]:
        """`podman run` of busybox's root filesystem."""
        return self("run", *LIMITS, *flags, "--rootfs", str(self.rootfs), *words)


def processes_naming(directory: Path) -> list[str]:
    """Processes with a directory on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(directory).encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


@pytest.fixture
def podman(root: None, cloche_runc: str, busybox_rootfs: Path) -> Iterator[Podman]:
    # Podman refuses a run root of more than 50 characters, which tmp_path has.
    directory = Path(tempfile.mkdtemp())
    podman = Podman(cloche_runc, directory, busybox_rootfs)
    yield podman
    podman("rm", "--all", "--force", "--time", "0")
    # What conmon starts at a container's end tidies up on its own.
    wait_until(lambda: not processes_naming(directory), what="podman's own cleaning up")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if str(directory) in line.split()[4]:
            subprocess.run(["umount", line.split()[4]], check=True)
    shutil.rmtree(directory)


def test_podman_runs_a_container(podman: Podman) -> None:
    result = podman.run("sh", "-c", "echo hello; hostname; exit 3", flags=("--rm", "--hostname", "inside"))
    assert (result.returncode, result.stdout) == (3, "hello\ninside\n")


def test_podman_limits_and_locks_down(podman: Podman) -> None:
    flags = (
        "--memory",
        "64m",
        "--pids-limit",
        "50",
        "--cap-drop",
        "all",
        "--security-opt",
        "no-new-privileges",
    )
    script = "grep -E 'CapEff|NoNewPrivs' /proc/self/status; cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
    result = podman.run("sh", "-c", script, flags=("--rm", *flags))
    assert "CapEff:\t0000000000000000" in result.stdout
    assert "NoNewPrivs:\t1" in result.stdout
    assert "67108864" in result.stdout


@pytest.mark.parametrize(("program", "code"), [("/nonexistent", 127), ("nonexistent", 127), ("/etc", 126)])
def test_podman_understands_what_failed(podman: Podman, program: str, code: int) -> None:
    assert podman.run(program).returncode == code


def test_podman_lives_with_a_container(podman: Podman) -> None:
    name = f"cloche-test-{uuid.uuid4().hex[:8]}"
    assert podman.run("sleep", "300", flags=("--detach", "--name", name)).returncode == 0
    assert podman("inspect", "--format", "{{.State.Status}}", name).stdout == "running\n"
    result = podman("exec", name, "sh", "-c", "echo inside; exit 5")
    assert (result.returncode, result.stdout) == (5, "inside\n")
    assert podman("exec", name, "nonexistent").returncode == 127
    assert podman("exec", name, "/etc").returncode == 126
    assert podman("exec", "--user", "5:6", name, "id").stdout == "uid=5 gid=6\n"
    assert podman("pause", name).returncode == 0
    assert podman("inspect", "--format", "{{.State.Status}}", name).stdout == "paused\n"
    assert podman("unpause", name).returncode == 0
    assert podman("kill", name).returncode == 0
    assert podman("wait", name).stdout == "137\n"
    assert podman("start", name).returncode == 0
    assert podman("stop", "--time", "0", name).returncode == 0
    assert podman("inspect", "--format", "{{.State.ExitCode}}", name).stdout == "137\n"
    assert podman("rm", name).returncode == 0
