"""Containers and tasks, as the real ctr runs them: the guide's section on the high-level runtime."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.api.conftest import IMAGE
from tests.daemons import Cloched
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("either_ctr")


def column(text: str, key: str, number: int) -> str:
    """A word of the line that begins with a key."""
    return next(line.split()[number] for line in text.splitlines() if line.split()[:1] == [key])


def finish(cloched: Cloched, name: str) -> None:
    """Kill a task and remove it with its container."""
    cloched.ok("tasks", "kill", "--signal", "SIGKILL", name)
    wait_until(lambda: column(cloched.ok("tasks", "ls"), name, 2) == "STOPPED")
    cloched.run("tasks", "rm", name)  # ctr hands on the task's exit code
    cloched.ok("containers", "rm", name)


def test_a_container_is_run_and_nothing_is_left(cloched: Cloched, name: str) -> None:
    done = cloched.run("run", "--rm", IMAGE, name, "sh", "-c", "echo $$; exit 5")
    assert (done.returncode, done.stdout) == (5, "1\n"), done.stderr
    assert name not in cloched.ok("containers", "ls", "-q")
    assert name not in cloched.ok("tasks", "ls", "-q")
    assert name not in cloched.ok("snapshots", "ls")


def test_the_guide_s_second_exercise(cloched: Cloched, name: str) -> None:
    script = "while true; do date; sleep 5; done"
    cloched.ok("containers", "create", "--", IMAGE, name, "/bin/sh", "-c", script)
    assert column(cloched.ok("containers", "ls"), name, 2) == "io.containerd.runc.v2"
    cloched.ok("tasks", "start", "-d", name)
    assert column(cloched.ok("tasks", "ls"), name, 2) == "RUNNING"
    executed = cloched.run("tasks", "exec", "--exec-id", "debug", name, "sh", "-c", "echo inside; exit 3")
    assert (executed.returncode, executed.stdout) == (3, "inside\n"), executed.stderr
    assert name in cloched.ok("snapshots", "ls")
    pid = column(cloched.ok("tasks", "ls"), name, 1)
    assert pid in cloched.ok("tasks", "ps", name).split()
    finish(cloched, name)
    assert name not in cloched.ok("snapshots", "ls")


def test_a_terminal_is_given(cloched: Cloched, name: str) -> None:
    words = " ".join(cloched.ctr("run", "--rm", "--tty", IMAGE, name, "sh", "-c", '"tty; stty size"'))
    done = subprocess.run(
        ["script", "-qec", words, "/dev/null"], capture_output=True, text=True, timeout=60, check=False
    )
    assert "/dev/pts/0" in done.stdout, done.stdout


def test_a_task_is_paused_resumed_and_measured(cloched: Cloched, name: str) -> None:
    cloched.ok("run", "-d", IMAGE, name, "sleep", "600")
    cloched.ok("tasks", "pause", name)
    assert column(cloched.ok("tasks", "ls"), name, 2) == "PAUSED"
    cloched.ok("tasks", "resume", name)
    assert column(cloched.ok("tasks", "ls"), name, 2) == "RUNNING"
    assert "memory" in cloched.ok("tasks", "metrics", name)
    finish(cloched, name)


def test_a_task_is_made_again_from_the_same_container(cloched: Cloched, name: str) -> None:
    cloched.ok("containers", "create", "--", IMAGE, name, "sh", "-c", "exit 4")
    for _ in range(2):
        done = cloched.run("tasks", "start", name)
        assert done.returncode == 4, done.stderr
        cloched.run("tasks", "rm", name)
    cloched.ok("containers", "rm", name)


def test_containers_are_labelled_shown_and_refused_twice(cloched: Cloched, name: str) -> None:
    cloched.ok("containers", "create", "--label", "tier=gold", IMAGE, name)
    assert "already exists" in cloched.run("containers", "create", IMAGE, name).stderr
    cloched.ok("containers", "label", name, "more=yes")
    assert name in cloched.ok("containers", "ls", "-q", "labels.more==yes")
    assert cloched.ok("containers", "ls", "-q", "labels.more==no") == ""
    assert '"process"' in cloched.ok("containers", "info", name)
    cloched.ok("containers", "rm", name)
    assert "not found" in cloched.run("containers", "info", name).stderr


def test_a_program_that_is_not_there_leaves_nothing(cloched: Cloched, name: str) -> None:
    done = cloched.run("run", "--rm", IMAGE, name, "/no/such/program")
    assert done.returncode == 1
    assert "/no/such/program" in done.stderr
    assert name not in cloched.ok("containers", "ls", "-q")
    assert name not in cloched.ok("tasks", "ls", "-q")


def test_events_come_in_order(cloched: Cloched, name: str, tmp_path: Path) -> None:
    heard = tmp_path / "events"
    wanted = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]

    def topics() -> list[str]:
        lines = [line.split() for line in heard.read_text().splitlines() if name in line]
        return [words[5] for words in lines if words[5].startswith("/tasks/")]

    with cloched.listening(heard):
        cloched.ok("run", "--rm", IMAGE, name, "true")
        wait_until(lambda: topics() == wanted, what=f"{wanted}, after {topics()}")


def test_snapshots_are_made_and_removed_by_hand(cloched: Cloched, name: str, tmp_path: Path) -> None:
    top = cloched.ok("snapshots", "ls").splitlines()[1].split()[0]
    mounts = cloched.ok("snapshots", "prepare", "--mounts", "--target", str(tmp_path), name, top)
    assert "overlay" in mounts
    assert cloched.ok("snapshots", "mounts", str(tmp_path), name)
    cloched.ok("snapshots", "commit", f"{name}-committed", name)
    assert f"{name}-committed" in cloched.ok("snapshots", "tree")
    cloched.ok("snapshots", "view", f"{name}-view", f"{name}-committed")
    assert "is the parent of" in cloched.run("snapshots", "rm", f"{name}-committed").stderr
    cloched.ok("snapshots", "rm", f"{name}-view")
    assert '"Kind": "Committed"' in cloched.ok("snapshots", "info", f"{name}-committed")
    assert f"{name}-committed" in cloched.ok("snapshots", "usage")
    cloched.ok("snapshots", "rm", f"{name}-committed")


def test_a_layer_is_made_of_what_a_container_changed(cloched: Cloched, name: str) -> None:
    cloched.ok("run", "-d", IMAGE, name, "sh", "-c", "echo new > /new; rm /bin/vi; sleep 600")
    wait_until(lambda: cloched.run("tasks", "exec", "--exec-id", "look", name, "ls", "/new").returncode == 0)
    finish_only = cloched.ctr("snapshots", "diff", name)
    layer = subprocess.run(finish_only, capture_output=True, check=False)
    assert layer.returncode == 0, layer.stderr
    listed = subprocess.run(["tar", "-tz"], input=layer.stdout, capture_output=True, check=True).stdout
    assert {b"new", b"bin/.wh.vi"} <= set(listed.split())
    finish(cloched, name)


def test_namespaces_are_made_labelled_and_removed(cloched: Cloched, name: str) -> None:
    cloched.ok("namespaces", "create", name, "tier=gold")
    cloched.ok("namespaces", "label", name, "more=yes")
    line = next(line for line in cloched.ok("namespaces", "ls").splitlines() if line.startswith(name))
    assert "tier=gold" in line
    assert "more=yes" in line
    cloched.ok("namespaces", "rm", name)
    assert name not in cloched.ok("namespaces", "ls")


def test_leases_are_made_and_removed(cloched: Cloched, name: str) -> None:
    cloched.ok("leases", "create", "--id", name, "tier=gold")
    assert "tier=gold" in cloched.ok("leases", "ls", f"id=={name}")
    cloched.ok("leases", "rm", name)
    assert name not in cloched.ok("leases", "ls")


def test_plugins_and_versions_are_told(cloched: Cloched) -> None:
    found = cloched.ok("plugins", "ls")
    for kind in ("io.containerd.content.v1", "io.containerd.snapshotter.v1", "io.containerd.runtime.v2"):
        assert kind in found
    assert "Server:" in cloched.ok("version")


def test_a_killed_daemon_finds_its_tasks_again(cloched: Cloched, name: str) -> None:
    cloched.ok("run", "-d", IMAGE, name, "sleep", "600")
    pid = column(cloched.ok("tasks", "ls"), name, 1)
    cloched.kill()
    cloched.start()
    assert column(cloched.ok("tasks", "ls"), name, 1) == pid
    executed = cloched.run("tasks", "exec", "--exec-id", "again", name, "echo", "still")
    assert executed.stdout == "still\n", executed.stderr
    finish(cloched, name)


def test_a_second_daemon_on_the_same_state_is_refused(cloched: Cloched) -> None:
    from tests import peers

    places = ["--root", f"{cloched.directory}/root", "--state", f"{cloched.directory}/state"]
    command = [peers.command("cloched"), *places, "--address", f"{cloched.directory}/second.sock"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "is in use by another cloched" in done.stderr
