"""A container's life in cgroup2 alone, as on a purely unified machine (controllers may be elsewhere)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloche.kernel.cgroups.cgroup import Cgroup
from cloche.kernel.cgroups.layout import UNIFIED, Layout, layout
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(layout().unified is None, reason="there is no cgroup2 here")

JOINED = """
import os, time
open(os.path.join(os.environ["CGROUP"], "cgroup.procs"), "w").write("0")
print("joined", flush=True)
"""
SLEEPER = JOINED + "time.sleep(60)"
# There is a new process at every moment, and never more than twice this many: a machine that is
# slow to look must not be flooded.
CROWD = 60
FORKING = f"""{JOINED}
for _ in range({CROWD}):
    if os.fork() == 0:
        break
while True:
    if os.fork() == 0:
        os._exit(0)
    os.wait()
"""


@pytest.fixture
def cgroup(cgroup_parent: str) -> Iterator[Cgroup]:
    unified = layout().unified
    assert unified is not None
    alone = Layout((), unified)
    assert alone.mode == "unified"
    path = Path(f"{unified.mountpoint}{cgroup_parent}")
    path.mkdir()
    yield Cgroup.load(alone, {UNIFIED: str(path)})
    if path.exists():
        path.rmdir()


@pytest.fixture
def start(cgroup: Cgroup) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    started = []

    def run(code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", code],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"CGROUP": cgroup.paths[UNIFIED]},
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "joined\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    cgroup.kill()
    wait_until(lambda: not cgroup.processes(), what="an empty cgroup")


def test_one_directory_is_all_there_is(cgroup: Cgroup, start: Callable[[str], subprocess.Popen[str]]) -> None:
    assert cgroup.task_files() == []
    assert cgroup.unified_directory() == cgroup.paths[UNIFIED]
    process = start(SLEEPER)
    assert cgroup.processes() == [process.pid]
    metrics = cgroup.metrics()
    assert metrics.cpu is not None
    assert metrics.cpu.total_ns > 0


def test_freezing_is_awaited(cgroup: Cgroup, start: Callable[[str], subprocess.Popen[str]]) -> None:
    process = start(SLEEPER)
    assert not cgroup.frozen()
    cgroup.freeze()
    assert cgroup.frozen()
    assert "frozen 1" in Path(cgroup.paths[UNIFIED], "cgroup.events").read_text()
    cgroup.kill(signal.SIGCONT)
    assert cgroup.frozen()
    cgroup.thaw()
    assert not cgroup.frozen()
    assert process.poll() is None


def test_everything_dies_at_once(cgroup: Cgroup, start: Callable[[str], subprocess.Popen[str]]) -> None:
    process = start(FORKING)
    wait_until(lambda: len(cgroup.processes()) > CROWD, what="a crowd")
    cgroup.freeze()
    cgroup.kill()
    assert process.wait() == -signal.SIGKILL
    cgroup.destroy()
    assert not cgroup.exists()


def test_a_delegate_owns_the_files_that_the_kernel_names_and_no_limit(cgroup: Cgroup) -> None:
    directory = Path(cgroup.paths[UNIFIED])
    cgroup.delegate(4321)
    names = Path("/sys/kernel/cgroup/delegate").read_text().split()
    assert directory.stat().st_uid == 4321
    owned = {path.name for path in directory.iterdir() if path.stat().st_uid == 4321}
    assert owned == {name for name in names if (directory / name).exists()}
    assert {"cgroup.procs", "cgroup.subtree_control"} <= owned
    assert not owned & {"memory.max", "pids.max", "cgroup.freeze", "cgroup.kill"}


def test_nothing_is_delegated_beside_v1(cgroup: Cgroup) -> None:
    hybrid = layout()
    if not hybrid.legacy:
        pytest.skip("there is no v1 here")
    Cgroup.load(hybrid, cgroup.paths).delegate(4321)
    assert Path(cgroup.paths[UNIFIED]).stat().st_uid == 0
