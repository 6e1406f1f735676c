"""A task's processes, written down and started again, over the API."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import peers
from tests.api.conftest import IMAGE
from tests.api.test_tasks import finish
from tests.daemons import Cloched
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("either_ctr")
SCRIPT = "n=0; while :; do n=$((n+1)); echo $n > /count; sleep 0.1; done"


def criu_works() -> bool:
    """Whether this machine's criu can read its kernel."""
    return subprocess.run([peers.peer("criu"), "check"], capture_output=True, check=False).returncode == 0


def count(cloched: Cloched, name: str, look: str) -> int:
    done = cloched.run("tasks", "exec", "--exec-id", look, name, "cat", "/count")
    return int(done.stdout or 0)


@pytest.mark.criu
def test_a_task_goes_on_where_it_was_written_down(cloched: Cloched, name: str) -> None:
    if not criu_works():
        pytest.skip("this criu cannot read this kernel: a newer criu on the PATH can")
    reference = f"test.example/{name}:checkpoint"
    cloched.ok("run", "-d", "--null-io", IMAGE, name, "sh", "-c", SCRIPT)
    wait_until(lambda: count(cloched, name, "look") > 5)
    cloched.ok("containers", "checkpoint", "--rw", "--task", name, reference)
    reached = count(cloched, name, "again")
    finish(cloched, name)
    cloched.ok("containers", "restore", "--rw", "--live", f"{name}-2", reference)
    wait_until(lambda: count(cloched, f"{name}-2", "look") >= reached)
    finish(cloched, f"{name}-2")
    cloched.ok("images", "rm", "--sync", reference)
    assert not list((cloched.directory / "state" / "checkpoints").iterdir())


def test_a_checkpoint_that_fails_is_told_and_leaves_nothing(
    cloched: Cloched, name: str, tmp_path: Path
) -> None:
    if criu_works():
        pytest.skip("criu works here: it has nothing to fail with")
    cloched.ok("run", "-d", "--null-io", IMAGE, name, "sleep", "600")
    refused = cloched.run("tasks", "checkpoint", name)
    assert refused.returncode == 1
    assert "criu" in refused.stderr.lower()
    assert not list((cloched.directory / "state" / "checkpoints").iterdir())
    assert "RUNNING" in cloched.ok("tasks", "ls")
    finish(cloched, name)
