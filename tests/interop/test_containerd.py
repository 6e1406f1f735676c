"""Debian's containerd with cloche-runc in runc's place."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemons import Containerd
from tests.layouts import Layout, tar_directory

IMAGE = "test.example/busybox:latest"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def stocked(
    containerd: Containerd, busybox_rootfs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Containerd]:
    """A containerd that has an image of busybox."""
    place = tmp_path_factory.mktemp("image")
    layout = Layout(place / "layout")
    layout.image(IMAGE, [tar_directory(busybox_rootfs)])
    archive = layout.archive(place / "image.tar")
    imported = containerd.run("images", "import", str(archive))
    assert imported.returncode == 0, imported.stderr
    yield containerd
    containerd.run("images", "rm", "--sync", IMAGE)


@pytest.fixture
def run(stocked: Containerd, cloche_runc: str) -> Run:
    """run(OPTION..., image and command): ctr run with cloche-runc."""

    def ctr_run(*words: str) -> subprocess.CompletedProcess[str]:
        return stocked.run("run", "--runc-binary", cloche_runc, *words)

    return ctr_run


def test_it_runs_a_container_and_hands_on_its_exit_code(run: Run) -> None:
    done = run("--rm", IMAGE, "exit-code", "sh", "-c", "echo $$; exit 5")
    assert (done.returncode, done.stdout) == (5, "1\n"), done.stderr


def test_limits_mounts_and_environment_arrive(run: Run, tmp_path: Path) -> None:
    (tmp_path / "word").write_text("from outside\n")
    mount = f"type=bind,src={tmp_path},dst=/mnt,options=rbind:ro"
    options = ("--memory-limit", "67108864", "--env", "WORD=given", "--mount", mount)
    limits = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
    script = f"cat /mnt/word; echo $WORD; touch /mnt/x || echo refused; cat {limits} 2>/dev/null"
    done = run("--rm", *options, IMAGE, "limits", "sh", "-c", script)
    # Without a cgroup mount inside, as ctr has it by default, the limit cannot be read there.
    assert done.stdout.splitlines()[:3] == ["from outside", "given", "refused"], done.stderr


def test_it_executes_in_and_kills_a_detached_container(run: Run, stocked: Containerd) -> None:
    started = run("--detach", IMAGE, "sleeper", "sleep", "600")
    assert started.returncode == 0, started.stderr
    try:
        executed = stocked.run("tasks", "exec", "--exec-id", "one", "sleeper", "sh", "-c", "echo in; exit 3")
        assert (executed.returncode, executed.stdout) == (3, "in\n"), executed.stderr
        assert "RUNNING" in stocked.run("tasks", "ls").stdout
        for action, state in (("pause", "PAUSED"), ("resume", "RUNNING")):
            assert stocked.run("tasks", action, "sleeper").returncode == 0
            assert state in stocked.run("tasks", "ls").stdout
        assert len(stocked.run("tasks", "ps", "sleeper").stdout.splitlines()) == 2
        killed = stocked.run("tasks", "kill", "--signal", "SIGKILL", "sleeper")
        assert killed.returncode == 0, killed.stderr
    finally:
        deleted = stocked.run("tasks", "rm", "--force", "sleeper")
        removed = stocked.run("containers", "rm", "sleeper")
    assert (deleted.returncode, removed.returncode) in ((0, 0), (137, 0)), deleted.stderr + removed.stderr


def test_it_reports_a_program_that_is_not_there(run: Run, stocked: Containerd) -> None:
    done = run("--rm", IMAGE, "missing", "/no/such/program")
    assert done.returncode != 0
    assert "/no/such/program" in done.stderr
    assert "missing" not in stocked.run("containers", "ls", "--quiet").stdout
