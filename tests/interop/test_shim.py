"""Debian's containerd and its ctr over our shim: the guide's words on shims, and its second exercise."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemons import Containerd
from tests.layouts import Layout, tar_directory
from tests.peers import require_root
from tests.shim.starting import Shims, parent
from tests.waiting import wait_until

IMAGE = "test.example/shim-busybox:latest"
RUNTIME = ("--runtime", "io.containerd.cloche.v1")
STATE = "state/io.containerd.runtime.v2.task/default"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def stocked(busybox_rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """A containerd that has an image of busybox and finds our shim."""
    require_root()
    directory = tmp_path_factory.mktemp("containerd")
    with Shims(directory) as shims:  # which ends the warm parent
        places = f"{os.path.dirname(shims.program)}:{os.environ['PATH']}"
        environment = {"PATH": places, "CLOCHE_STATE": str(shims.state)}
        with Containerd(directory, environment) as containerd:
            yield from _stock(containerd, busybox_rootfs, tmp_path_factory)


def _stock(
    containerd: Containerd, busybox_rootfs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Containerd]:
    place = tmp_path_factory.mktemp("image")
    layout = Layout(place / "layout")
    layout.image(IMAGE, [tar_directory(busybox_rootfs)])
    imported = containerd.run("images", "import", str(layout.archive(place / "image.tar")))
    assert imported.returncode == 0, imported.stderr
    yield containerd
    containerd.run("images", "rm", "--sync", IMAGE)


@pytest.fixture
def run(stocked: Containerd) -> Run:
    """run(OPTION..., image and command): ctr run with our shim."""
    return lambda *words: stocked.run("run", *RUNTIME, *words)


@pytest.fixture
def sleeper(run: Run, stocked: Containerd) -> Iterator[str]:
    """A detached container that sleeps; its id."""
    started = run("--detach", IMAGE, "sleeper", "sleep", "600")
    assert started.returncode == 0, started.stderr
    yield "sleeper"
    stocked.run("tasks", "rm", "--force", "sleeper")
    assert stocked.run("containers", "rm", "sleeper").returncode == 0


def pid_of(daemon: Containerd, name: str) -> int:
    """What `ctr tasks ls` says about a task; 0 where there is none."""
    for line in daemon.run("tasks", "ls").stdout.splitlines()[1:]:
        words = line.split()
        if words[0] == name:
            return int(words[1])
    return 0


def status_of(daemon: Containerd, name: str) -> str:
    """The last column of `ctr tasks ls`."""
    lines = daemon.run("tasks", "ls").stdout.splitlines()[1:]
    return next((line.split()[2] for line in lines if line.split()[0] == name), "")


def test_it_runs_a_container_and_hands_on_its_exit_code(run: Run, stocked: Containerd) -> None:
    done = run("--rm", IMAGE, "exit-code", "sh", "-c", "echo $$; echo err >&2; exit 5")
    assert (done.returncode, done.stdout, done.stderr) == (5, "1\n", "err\n")
    assert not (stocked.directory / STATE / "exit-code").exists()


def test_a_program_that_is_not_there_is_reported(run: Run, stocked: Containerd) -> None:
    done = run("--rm", IMAGE, "missing", "/no/such/program")
    assert done.returncode != 0
    assert "/no/such/program: no such file or directory" in done.stderr
    assert "missing" not in stocked.run("containers", "ls", "--quiet").stdout


def test_the_second_exercise_of_the_guide(stocked: Containerd) -> None:
    script = "while true; do date; sleep 5; done"
    made = stocked.run("containers", "create", *RUNTIME, "--", IMAGE, "loop", "/bin/sh", "-c", script)
    assert made.returncode == 0, made.stderr
    try:
        assert "loop" in stocked.run("containers", "ls").stdout
        assert stocked.run("tasks", "start", "--detach", "loop").returncode == 0
        assert (status_of(stocked, "loop"), pid_of(stocked, "loop") > 0) == ("RUNNING", True)
        typed = ["tasks", "exec", "--exec-id", "debug", "-t", "loop", "/bin/sh", "-c", "tty; exit 3"]
        terminal = [
            "script",
            "--quiet",
            "--return",
            "--command",
            " ".join(f"'{word}'" for word in stocked.ctr(*typed)),
            "/dev/null",
        ]
        seen = subprocess.run(terminal, capture_output=True, text=True, timeout=60, check=False)
        assert "/dev/pts/0" in seen.stdout
        assert seen.returncode == 3
        assert "loop" in stocked.run("snapshots", "ls").stdout
        assert stocked.run("tasks", "kill", "--signal", "SIGKILL", "loop").returncode == 0
        wait_until(lambda: status_of(stocked, "loop") == "STOPPED")
        assert stocked.run("tasks", "delete", "loop").returncode == 0
        assert not pid_of(stocked, "loop")
    finally:
        stocked.run("tasks", "rm", "--force", "loop")
        assert stocked.run("containers", "delete", "loop").returncode == 0
    assert "loop" not in stocked.run("snapshots", "ls").stdout


def test_a_task_can_be_made_again_from_the_same_container(stocked: Containerd) -> None:
    made = stocked.run("containers", "create", *RUNTIME, "--", IMAGE, "again", "/bin/sh", "-c", "exit 4")
    assert made.returncode == 0, made.stderr
    try:
        for _ in range(2):
            assert stocked.run("tasks", "start", "again").returncode == 4
            stocked.run("tasks", "delete", "again")
    finally:
        stocked.run("tasks", "rm", "--force", "again")
        stocked.run("containers", "rm", "again")


def test_the_state_folder_is_as_the_guide_says(sleeper: str, stocked: Containerd) -> None:
    folder = stocked.directory / STATE / sleeper
    assert {"address", "config.json", "init.pid", "log", "log.json", "shim.pid", "work"} <= {
        entry.name for entry in folder.iterdir()
    }
    shim = int((folder / "shim.pid").read_text())
    init = int((folder / "init.pid").read_text())
    assert init == pid_of(stocked, sleeper)
    # The shim is the parent of the container's process, and PID 1 is the shim's.
    assert (parent(init), parent(shim)) == (shim, 1)


def test_processes_are_added_listed_signalled_and_leave_their_exit_code(
    sleeper: str, stocked: Containerd
) -> None:
    executed = stocked.run("tasks", "exec", "--exec-id", "one", sleeper, "sh", "-c", "echo in; exit 3")
    assert (executed.returncode, executed.stdout) == (3, "in\n"), executed.stderr
    added = stocked.run("tasks", "exec", "--exec-id", "two", "--detach", sleeper, "sleep", "500")
    assert added.returncode == 0, added.stderr
    listed = stocked.run("tasks", "ps", sleeper).stdout.splitlines()[1:]
    assert len(listed) == 2
    assert sum("ExecID:two" in line for line in listed) == 1
    assert stocked.run("tasks", "kill", "--exec-id", "two", sleeper).returncode == 0
    wait_until(lambda: len(stocked.run("tasks", "ps", sleeper).stdout.splitlines()) == 2)
    assert status_of(stocked, sleeper) == "RUNNING"


def test_what_is_typed_arrives_and_its_end_too(sleeper: str, stocked: Containerd) -> None:
    words = stocked.ctr("tasks", "exec", "--exec-id", "cat", sleeper, "sh", "-c", "wc -c")
    done = subprocess.run(words, input="x" * 100_000, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "100000"), done.stderr


def test_it_is_paused_and_resumed(sleeper: str, stocked: Containerd) -> None:
    for action, state in (("pause", "PAUSED"), ("resume", "RUNNING")):
        assert stocked.run("tasks", action, sleeper).returncode == 0
        assert status_of(stocked, sleeper) == state


def test_its_metrics_are_shown(sleeper: str, stocked: Containerd) -> None:
    done = stocked.run("tasks", "metrics", "--format", "json", sleeper)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pids"]["current"] == 1


def test_attach_shows_what_comes_and_the_end(run: Run, stocked: Containerd) -> None:
    script = "until [ -e /go ]; do sleep 0.05; done; echo seen; exit 6"
    started = run("--detach", IMAGE, "attached", "sh", "-c", script)
    assert started.returncode == 0, started.stderr
    try:
        words = stocked.ctr("tasks", "attach", "attached")
        with subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as attached:
            go = f"/proc/{pid_of(stocked, 'attached')}/root/go"
            Path(go).touch()
            out, _ = attached.communicate(timeout=30)
        assert out in ("seen\n", "")  # detached, ctr made its output go nowhere
        assert attached.returncode == 6
    finally:
        stocked.run("tasks", "rm", "--force", "attached")
        stocked.run("containers", "rm", "attached")


@pytest.mark.timeout(60)
def test_too_little_memory_is_an_event(run: Run, stocked: Containerd, tmp_path: Path) -> None:
    log = tmp_path / "events"
    with log.open("wb") as output, subprocess.Popen(stocked.ctr("events"), stdout=output) as watching:

        def topics() -> list[str]:
            lines = [line for line in log.read_text().splitlines() if "hungry" in line and "/tasks/" in line]
            return [line.split("/tasks/")[1].split()[0] for line in lines]

        try:
            wait_until(lambda: _hears(stocked, log))
            script = "head -c 200000000 /dev/zero | tail -c 199999999 | wc -c"
            done = run("--rm", "--memory-limit", "16777216", IMAGE, "hungry", "sh", "-c", script)
            wait_until(lambda: "delete" in topics(), what=done.stderr)
        finally:
            watching.terminate()
    assert "oom" in topics()
    assert [topic for topic in topics() if topic != "oom"] == ["create", "start", "exit", "delete"]


def _hears(daemon: Containerd, log: Path) -> bool:
    """Whether `ctr events` is subscribed: what happens before is lost to it."""
    daemon.run("namespaces", "label", "default", "heard=yes")
    return bool(log.read_text())


def test_containers_of_a_group_share_a_shim(run: Run, stocked: Containerd) -> None:
    group = ("--annotation", "io.kubernetes.cri.sandbox-id=pod")
    names = ("pod", "member")
    try:
        for name in names:
            started = run("--detach", *group, IMAGE, name, "sleep", "600")
            assert started.returncode == 0, started.stderr
        folders = [stocked.directory / STATE / name for name in names]
        assert len({(folder / "address").read_text() for folder in folders}) == 1
        assert len({parent(pid_of(stocked, name)) for name in names}) == 1
        assert stocked.run("tasks", "rm", "--force", "member").returncode == 0
        assert status_of(stocked, "pod") == "RUNNING"
    finally:
        for name in reversed(names):
            stocked.run("tasks", "rm", "--force", name)
            stocked.run("containers", "rm", name)
