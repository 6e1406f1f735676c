"""The daemon and commands without one, on the same stores: each sees what the other made."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests import peers
from tests.api.conftest import IMAGE
from tests.api.test_tasks import column, finish
from tests.daemons import Cloched
from tests.waiting import wait_until


def cloche(daemon: Cloched, *words: str) -> subprocess.CompletedProcess[str]:
    places = ["--root", f"{daemon.directory}/root", "--state", f"{daemon.directory}/state"]
    command = [peers.command("cloche"), *places, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_images_are_shared(cloched: Cloched) -> None:
    assert "test.example/busybox" in cloche(cloched, "images").stdout
    assert cloche(cloched, "run", "--rm", IMAGE, "echo", "embedded").stdout == "embedded\n"


def test_the_daemon_sees_a_detached_container_and_its_events(cloched: Cloched, tmp_path: Path) -> None:
    heard = tmp_path / "events"
    with cloched.listening(heard):
        started = cloche(cloched, "run", "--detach", "--name", "embedded", IMAGE, "sleep", "600")
        wait_until(lambda: "/tasks/start" in heard.read_text())
    container = started.stdout.strip()
    assert column(cloched.ok("tasks", "ls"), container, 2) == "RUNNING", started.stderr
    executed = cloched.run("tasks", "exec", "--exec-id", "look", container, "echo", "inside")
    assert executed.stdout == "inside\n", executed.stderr
    assert cloche(cloched, "stop", "--time", "0", "embedded").returncode == 0
    wait_until(lambda: container not in cloched.ok("tasks", "ls"))
    assert "Exited (137)" in cloche(cloched, "ps", "--all").stdout
    assert cloche(cloched, "rm", "embedded").returncode == 0
    assert container not in cloched.ok("containers", "ls", "-q")


def test_a_command_sees_the_daemon_s_container(cloched: Cloched, name: str) -> None:
    cloched.ok("run", "-d", IMAGE, name, "sleep", "600")
    listed = cloche(cloched, "ps", "--format", "{{.ID}} {{.Command}}", "--no-trunc").stdout
    assert f'{name} "sleep 600"' in listed
    assert cloche(cloched, "exec", name, "echo", "through the engine").stdout == "through the engine\n"
    refused = cloche(cloched, "rm", "--force", name)
    assert refused.returncode == 1
    assert "made through the daemon's API" in refused.stderr
    finish(cloched, name)
    assert name not in cloche(cloched, "ps", "--all", "--quiet", "--no-trunc").stdout


def test_a_command_sees_how_the_daemon_s_task_ended(cloched: Cloched, name: str) -> None:
    def status() -> str:
        filters = ("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Status}}")
        lines = cloche(cloched, *filters).stdout.splitlines()
        return next(line.removeprefix(name).strip() for line in lines if line.startswith(name))

    cloched.ok("containers", "create", "--", IMAGE, name, "sh", "-c", "sleep 600 & wait; exit 7")
    assert status() == "Created"
    cloched.ok("tasks", "start", "-d", name)
    assert status().startswith("Up ")
    cloched.ok("tasks", "kill", "--signal", "KILL", name)
    wait_until(lambda: column(cloched.ok("tasks", "ls"), name, 2) == "STOPPED")
    assert status().startswith("Exited (137) ")
    cloched.run("tasks", "rm", name)
    assert status() == "Created"
    cloched.ok("containers", "rm", name)


def test_a_daemon_that_starts_finds_what_ran_before(cloched: Cloched) -> None:
    cloched.stop()
    container = cloche(cloched, "run", "--detach", "--name", "before", IMAGE, "sleep", "600").stdout.strip()
    cloched.start()
    assert column(cloched.ok("tasks", "ls"), container, 2) == "RUNNING"
    assert cloche(cloched, "rm", "--force", "before").returncode == 0
    wait_until(lambda: container not in cloched.ok("tasks", "ls"))
