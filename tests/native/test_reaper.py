"""cloche-reaper, as process 1 of a pid namespace."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cloche.runtime.sealed import PROGRAM

REAPER = str(Path(PROGRAM).with_name("cloche-reaper"))


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["sh", "-c", "exit 4"], 4),
        (["sh", "-c", "kill -KILL $$"], 128 + signal.SIGKILL),
        (["/bin/true"], 0),
        (["no-such-program"], 127),
        (["/etc/passwd"], 126),
    ],
)
def test_it_leaves_with_its_childs_status(command: list[str], status: int) -> None:
    assert (
        subprocess.run([REAPER, "--", *command], stderr=subprocess.DEVNULL, check=False).returncode == status
    )


def test_it_hands_signals_on() -> None:
    script = "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.01; done"
    with subprocess.Popen([REAPER, "--", "sh", "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "got\n"
        assert process.wait() == 9


def test_it_reaps_orphans(peer: Callable[[str], str], root: None) -> None:
    # The subshell's child is orphaned; process 1 must not keep it as a zombie.
    script = "(sh -c 'sleep 0.05 & exit 0'); sleep 0.3; grep -l '^State:.Z' /proc/[0-9]*/status; true"
    command = [peer("unshare"), "--pid", "--fork", "--mount-proc", REAPER, "--", "sh", "-c", script]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""
