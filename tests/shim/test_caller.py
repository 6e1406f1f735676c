"""What is read of a caller, and what a process takes over from it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cloche.shim.caller import Caller, parse_limits
from tests.waiting import wait_until

UNLIMITED = (1 << 64) - 1


def of(pid: int) -> Caller:
    return Caller(os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY))


def test_limits_are_in_the_order_of_their_numbers() -> None:
    limits = parse_limits(Path("/proc/self/limits").read_bytes())
    assert len(limits) == resource.RLIMIT_MSGQUEUE + 4
    for number, (soft, hard) in enumerate(limits):
        unlimited = [UNLIMITED if value < 0 else value for value in resource.getrlimit(number)]
        assert [soft, hard] == unlimited


def test_a_caller_is_known_by_its_words_and_environment(tmp_path: Path) -> None:
    words = [sys.executable, "-S", "-c", "input()", "", "a b"]
    environment = {"PLAIN": "1", "EMPTY": "", "LINES": "a\nb=c"}
    with subprocess.Popen(words, stdin=subprocess.PIPE, env=environment, cwd=tmp_path) as child:
        caller = of(child.pid)
        try:
            # Between the exec and the new program's first instruction there are no words to be seen.
            assert wait_until(caller.command) == words
            assert environment.items() <= caller.environment().items()
            assert caller.identity() == Caller.myself().identity()
        finally:
            caller.close()
            child.communicate(b"\n")


@pytest.mark.parametrize(
    "change",
    [["unshare", "--uts"], ["setpriv", "--bounding-set", "-sys_boot"], ["setpriv", "--no-new-privs"]],
)
def test_another_identity_is_noticed(root: None, change: list[str]) -> None:
    with subprocess.Popen([*change, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        assert child.stdout
        child.stdin.write(b"x")
        child.stdin.flush()
        child.stdout.read(1)  # it has become cat by now
        caller = of(child.pid)
        assert caller.identity() != Caller.myself().identity()
        caller.close()
        child.stdin.close()


def test_a_caller_that_has_ended_is_no_stranger(tmp_path: Path) -> None:
    """The descriptor stays the ended process's, whoever gets its number."""
    child = subprocess.Popen(["true"])
    caller = of(child.pid)
    child.wait()
    with pytest.raises(ProcessLookupError):
        caller.command()
    caller.close()


TAKE_OVER = """
import os, resource, sys
sys.path.insert(0, sys.argv[1])
from cloche.shim.caller import Caller
caller = Caller(os.open(f"/proc/{sys.argv[2]}", os.O_PATH | os.O_DIRECTORY))
caller.hand_down()
print(os.getcwd())
caller.hand_down_score()
print(oct(os.umask(0)), resource.getrlimit(resource.RLIMIT_NOFILE), os.getpriority(os.PRIO_PROCESS, 0))
print(open("/proc/self/oom_score_adj").read().strip(), sorted(os.sched_getaffinity(0)))
"""

SET_UP = """
import os, resource, sys
os.chdir(sys.argv[1]); os.umask(0o027); os.nice(3); os.sched_setaffinity(0, {0})
resource.setrlimit(resource.RLIMIT_NOFILE, (333, 444))
open("/proc/self/oom_score_adj", "w").write("77")
print("ready", flush=True); input()
"""


def test_a_process_takes_over_what_a_child_would_have(root: None, tmp_path: Path) -> None:
    source = str(Path(__file__).parents[2] / "src")
    words = [sys.executable, "-c", SET_UP, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as caller:
        assert caller.stdout
        caller.stdout.readline()
        done = subprocess.run(
            [sys.executable, "-c", TAKE_OVER, source, str(caller.pid)],
            capture_output=True,
            text=True,
            check=True,
        )
        caller.communicate(b"\n")
    assert done.stdout.split("\n")[:3] == [str(tmp_path), "0o27 (333, 444) 3", "78 [0]"]
