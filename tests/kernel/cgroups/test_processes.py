from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

from cloche.kernel.cgroups.cgroup import Cgroup
from cloche.kernel.cgroups.layout import layout
from tests.kernel.cgroups.conftest import Inside, v1_only
from tests.waiting import wait_until

NewCgroup = Callable[..., Cgroup]

# Forks as fast as it can, each child too, all in sessions of their own.
BOMB = """
import os, time
while True:
    try:
        if os.fork() == 0:
            os.setsid()
    except OSError:
        time.sleep(0.001)
"""


@v1_only
def test_a_paused_cgroup_stands_still(new_cgroup: NewCgroup, inside: Inside) -> None:
    cgroup = new_cgroup()
    process = inside(cgroup, sys.executable, "-I", "-S", "-c", "while True: pass")
    assert not cgroup.frozen()
    cgroup.freeze()
    assert cgroup.frozen()
    before = Path(f"/proc/{process.pid}/stat").read_text().split()[13:15]
    process.send_signal(signal.SIGTERM)
    assert process.poll() is None
    assert Path(f"/proc/{process.pid}/stat").read_text().split()[13:15] == before
    cgroup.freeze()  # again: no error
    cgroup.thaw()
    assert not cgroup.frozen()
    assert process.wait() == -signal.SIGTERM


def test_a_paused_cgroup_dies_when_killed(new_cgroup: NewCgroup, inside: Inside) -> None:
    cgroup = new_cgroup()
    process = inside(cgroup, "sleep", "60")
    cgroup.freeze()
    cgroup.kill()
    assert process.wait() == -signal.SIGKILL
    assert not cgroup.frozen()


@v1_only
def test_another_signal_leaves_a_paused_cgroup_paused(new_cgroup: NewCgroup, inside: Inside) -> None:
    cgroup = new_cgroup()
    process = inside(cgroup, "sleep", "60")
    cgroup.freeze()
    cgroup.kill(signal.SIGTERM)
    assert cgroup.frozen()
    assert process.poll() is None
    cgroup.thaw()
    assert process.wait() == -signal.SIGTERM


def test_no_child_of_a_forking_bomb_escapes(new_cgroup: NewCgroup, inside: Inside) -> None:
    cgroup = new_cgroup()
    cgroup.apply({"pids": {"limit": 200}})
    process = inside(cgroup, sys.executable, "-I", "-S", "-c", BOMB)
    wait_until(lambda: len(cgroup.processes()) > 50, what="a crowd")
    cgroup.kill()
    assert process.wait() == -signal.SIGKILL
    wait_until(lambda: cgroup.processes() == [], what="an empty cgroup")


def test_processes_below_are_found_and_killed(
    new_cgroup: NewCgroup, inside: Inside, cgroup_parent: str
) -> None:
    outer, first, second = new_cgroup("outer"), new_cgroup("outer/first"), new_cgroup("outer/second")
    # Where controllers were handed down none can be in the outer one itself.
    alone = layout().mode == "unified"
    processes = [inside(second if alone else outer, "sleep", "60"), inside(first, "sleep", "60")]
    assert outer.processes(recursive=False) == ([] if alone else [processes[0].pid])
    assert outer.processes() == sorted(process.pid for process in processes)
    outer.kill()
    assert [process.wait() for process in processes] == [-signal.SIGKILL] * 2


def test_killing_nobody_is_fine(new_cgroup: NewCgroup, cgroup_parent: str) -> None:
    new_cgroup().kill()
    Cgroup.plan(layout(), f"{cgroup_parent}/never-made").kill()
    assert not Cgroup.plan(layout(), f"{cgroup_parent}/never-made").frozen()
