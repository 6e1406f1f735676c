"""A shim of `cloche run -d` that is killed: another one is in its place, and the container goes on."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from tests.cli.machine import IMAGE, Machine
from tests.shim.starting import alive, parent
from tests.waiting import wait_until

LINES = "".join(f"{number}\n" for number in range(1, 101))
COUNT = "i=1; while [ $i -le 100 ]; do echo $i; i=$((i+1)); sleep 0.01; done"


def kill_shim(machine: Machine, identifier: str) -> int:
    """kill -9; returns the pid, once it is gone."""
    bundle = Path(machine.place, "state/io.containerd.runtime.v2.task/default", identifier)
    shim = int((bundle / "shim.pid").read_text())
    os.kill(shim, signal.SIGKILL)
    wait_until(lambda: not alive(shim))
    return shim


def test_its_output_goes_on_and_its_exit_code_is_known(machine: Machine, name: str) -> None:
    identifier = machine.ok(
        "run", "-d", "--name", name, IMAGE, "sh", "-c", f"{COUNT}; sleep 1; exit 7"
    ).strip()
    pid = int(machine.inspect(name)["State"]["Pid"])
    shim = kill_shim(machine, identifier)
    assert machine.ok("exec", name, "sh", "-c", "echo inside") == "inside\n"
    assert machine.status(name) == "running"
    assert parent(pid) != shim
    assert machine.ok("wait", name) == "7\n"
    assert machine.ok("logs", name) == LINES


def test_it_ends_and_is_removed_as_any_other(machine: Machine, name: str) -> None:
    identifier = machine.ok("run", "-d", "--rm", "--name", name, IMAGE, "sleep", "600").strip()
    kill_shim(machine, identifier)
    machine.ok("kill", name)
    wait_until(lambda: name not in machine.ok("ps", "-a"))


def test_whoever_follows_its_log_sees_all_of_it(machine: Machine, name: str) -> None:
    identifier = machine.ok("run", "-d", "--name", name, IMAGE, "sh", "-c", f"{COUNT}; exit 3").strip()
    with machine.start("logs", "--follow", name) as following:
        assert following.stdout
        shown = following.stdout.readline()
        kill_shim(machine, identifier)
        shown += following.stdout.read()
        assert following.wait(20) == 0
    assert shown.decode() == LINES


def test_whoever_is_attached_stays_so(machine: Machine, name: str) -> None:
    script = f"{COUNT}; read word; echo $word; exit 4"
    identifier = machine.ok("run", "-d", "-i", "--name", name, IMAGE, "sh", "-c", script).strip()
    with machine.start("attach", name, stdin=subprocess.PIPE) as attached:
        assert attached.stdin
        assert attached.stdout
        attached.stdout.readline()
        kill_shim(machine, identifier)
        for line in attached.stdout:
            if line == b"100\n":
                break
        attached.stdin.write(b"word\n")
        attached.stdin.flush()
        assert attached.stdout.read() == b"word\n"
        assert attached.wait(20) == 4
