"""A shim under cloched that is killed: another one is in its place at once, and the container goes on."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from tests.api.conftest import IMAGE
from tests.api.test_tasks import column, finish
from tests.daemons import Cloched
from tests.shim.starting import alive, parent
from tests.waiting import wait_until

LINES = "".join(f"{number}\n" for number in range(1, 101))
COUNT = "i=1; while [ $i -le 100 ]; do echo $i; i=$((i+1)); sleep 0.01; done"


def bundle(cloched: Cloched, name: str) -> Path:
    """Where the shim of a container works."""
    return cloched.directory / "state" / "io.containerd.runtime.v2.task" / "default" / name


def kill_shim(cloched: Cloched, name: str) -> int:
    """kill -9; returns the pid, once it is gone."""
    shim = int((bundle(cloched, name) / "shim.pid").read_text())
    os.kill(shim, signal.SIGKILL)
    wait_until(lambda: not alive(shim))
    return shim


def test_whoever_runs_it_gets_all_output_and_the_exit_code(cloched: Cloched, name: str) -> None:
    words = cloched.ctr("run", "--rm", IMAGE, name, "sh", "-c", f"{COUNT}; exit 7")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        assert client.stdout
        # Calls in progress fail: some time after the first line its Start has been answered.
        shown = "".join(client.stdout.readline() for _ in range(20))
        kill_shim(cloched, name)
        shown += client.stdout.read()
        assert client.stderr
        assert (client.wait(30), client.stderr.read()) == (7, "")
    assert shown == LINES
    wait_until(lambda: not bundle(cloched, name).exists())


def test_it_goes_on_with_its_log_and_processes_can_be_added(
    cloched: Cloched, name: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    cloched.ok("run", "-d", "--log-uri", f"file://{log}", IMAGE, name, "sh", "-c", f"{COUNT}; sleep 600")
    pid = column(cloched.ok("tasks", "ls"), name, 1)
    shim = kill_shim(cloched, name)
    assert column(cloched.ok("tasks", "ls"), name, 2) == "RUNNING"
    executed = cloched.run("tasks", "exec", "--exec-id", "more", name, "sh", "-c", "echo inside; exit 3")
    assert (executed.returncode, executed.stdout) == (3, "inside\n"), executed.stderr
    assert column(cloched.ok("tasks", "ls"), name, 1) == pid
    assert int((bundle(cloched, name) / "shim.pid").read_text()) != shim
    wait_until(lambda: log.read_text() == LINES)
    finish(cloched, name)


def test_an_end_that_comes_while_nobody_is_there_is_known(cloched: Cloched, name: str) -> None:
    cloched.ok("run", "-d", IMAGE, name, "sleep", "600")
    pid = int(column(cloched.ok("tasks", "ls"), name, 1))
    cloched.kill()
    kill_shim(cloched, name)
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGKILL)
    cloched.start()
    wait_until(lambda: column(cloched.ok("tasks", "ls"), name, 2) == "STOPPED")
    assert "137" in cloched.run("tasks", "rm", name).stderr
    cloched.ok("containers", "rm", name)


def test_without_anybody_in_its_place_the_container_is_cleaned_up(cloched: Cloched, name: str) -> None:
    cloched.ok("run", "-d", IMAGE, name, "sleep", "600")
    pid = int(column(cloched.ok("tasks", "ls"), name, 1))
    shim = int((bundle(cloched, name) / "shim.pid").read_text())
    guard = parent(shim)
    os.kill(guard, signal.SIGKILL)
    os.kill(shim, signal.SIGKILL)
    wait_until(lambda: not alive(pid), what="the container to be killed")
    wait_until(lambda: not bundle(cloched, name).exists())
    cloched.ok("containers", "rm", name)
