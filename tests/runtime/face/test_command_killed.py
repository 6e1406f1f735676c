"""kill -9 of the runtime, and of cloche-init, at every step: `delete --force` cleans up what is left.

What the runtime does to the world it does by the system calls in CHANGES. It is run once to count
them, and then once for each of them, killed as it enters that call: so every state that a crash can
leave is seen. strace(1) does the killing.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloche.kernel.cgroups.cgroup import Cgroup
from cloche.kernel.cgroups.layout import layout
from tests import peers
from tests.bundles import Bundle
from tests.runtime.face.runtimes import Runtime, unique
from tests.waiting import wait_until

CHANGES = (
    "mkdir,rename,renameat2,mknod,mknodat,unlink,unlinkat,rmdir,write,sendmsg,sendto,recvmsg,clone3,vfork,clone,wait4,waitid,"
    "pidfd_send_signal"
)
# Those of cloche-init that Python does not make: what a container is made of.
OF_INIT = (
    "close_range,fsopen,fsmount,move_mount,pivot_root,umount2,symlinkat,setsid,setresuid,capset,"
    "umask,faccessat2"
)
# How often it is made depends on what interrupts it.
UNSTEADY = "recvmsg"
WORKERS = 3
DIED_OF_KILL = 128 + 9


class Crashes:
    """Runs commands of cloche-runc that are killed on their way."""

    def __init__(self, runtime: Runtime, bundle: Bundle) -> None:
        self.runtime = runtime
        self.bundle = bundle

    def traced(self, options: list[str], *arguments: str) -> tuple[int, str]:
        """One command under strace, whose options these are: its status, what both of them wrote.

        To a file, as a container that stays keeps its streams.
        """
        words = [peers.peer("strace"), *options, "-e", "signal=none", *self.runtime.words(*arguments)]
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False, timeout=60
            )
            output.seek(0)
            return done.returncode, output.read()

    def steps(self, *arguments: str) -> list[str]:
        """The calls of CHANGES that a command makes, in order."""
        status, text = self.traced(["-e", f"trace={CHANGES}"], *arguments)
        assert status == 0, text
        return [line.partition("(")[0] for line in text.splitlines() if "(" in line]

    def killed(self, steps: list[str], number: int, *arguments: str) -> None:
        """Run a command that is killed as it enters one of its steps."""
        call = steps[number]
        when = steps[: number + 1].count(call)
        kill = f"inject={call}:signal=KILL:when={when}"
        status, text = self.traced(["-e", f"trace={call}", "-e", kill], *arguments)
        survived = status == 0 and call == UNSTEADY
        assert survived or status in (-9, DIED_OF_KILL), (call, when, status, text)

    def made(self) -> str:
        """A new container."""
        name = unique("killed")
        assert self.runtime.start_detached("create", "--bundle", str(self.bundle.path), name) == 0
        return name

    def clean(self, name: str) -> None:
        """Delete with force, and see that nothing is there any more."""
        done = self.runtime("delete", "--force", name)
        assert done.returncode == 0, done.stderr
        self.nothing_is_left(name)

    def nothing_is_left(self, name: str) -> None:
        """Neither state nor cgroups of a container."""
        # Another one's sweep may be at it just now.
        wait_until(lambda: not any(name in entry for entry in os.listdir(self.runtime.root)))
        assert [path for path in Cgroup.plan(layout(), name).paths.values() if os.path.exists(path)] == []


def processes() -> set[str]:
    """The pids of those that execute cloche-init: they have not become anything else."""
    found = set()
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and "cloche-init" in os.readlink(f"/proc/{entry}/exe"):
                found.add(entry)
        except OSError:
            continue
    return found


@pytest.fixture
def crashes(ours: Runtime, bundle: Bundle) -> Iterator[Crashes]:
    """What is killed here leaves no process behind either."""
    before = processes()
    bundle.command("sleep", "1000")
    yield Crashes(ours, bundle)
    wait_until(lambda: processes() <= before, what="every cloche-init to end")


def everywhere(steps: list[str], attempt: Callable[[int], None]) -> None:
    """Try something for each number of a step, a few at a time."""
    with ThreadPoolExecutor(WORKERS) as workers:
        list(workers.map(attempt, range(len(steps))))


@pytest.mark.parametrize(("command", "program"), [("create", "sleep"), ("run", "true")])
def test_one_that_makes_a_container_and_is_killed(crashes: Crashes, command: str, program: str) -> None:
    arguments = (command, "--bundle", str(crashes.bundle.command(program, "1000").path))
    first = unique("killed")
    steps = crashes.steps(*arguments, first)
    crashes.clean(first)
    assert len(steps) > 30

    def attempt(number: int) -> None:
        name = unique("killed")
        crashes.killed(steps, number, *arguments, name)
        crashes.clean(name)

    everywhere(steps, attempt)


def test_a_start_that_is_killed(crashes: Crashes) -> None:
    first = crashes.made()
    steps = crashes.steps("start", first)
    crashes.clean(first)
    assert len(steps) >= 3

    def attempt(number: int) -> None:
        name = crashes.made()
        crashes.killed(steps, number, "start", name)
        crashes.clean(name)

    everywhere(steps, attempt)


def test_an_exec_that_is_killed(crashes: Crashes) -> None:
    name = crashes.made()
    assert crashes.runtime("start", name).returncode == 0
    arguments = ("exec", name, "sleep", "0.01")
    steps = crashes.steps(*arguments)
    assert len(steps) >= 6
    everywhere(steps, lambda number: crashes.killed(steps, number, *arguments))
    # The container itself has not noticed.
    assert crashes.runtime.status(name) == "running"
    assert crashes.runtime("exec", name, "true").returncode == 0
    crashes.clean(name)


def test_a_delete_that_is_killed(crashes: Crashes) -> None:
    arguments = ("delete", "--force")
    steps = crashes.steps(*arguments, crashes.made())
    assert len(steps) > 10

    def attempt(number: int) -> None:
        name = crashes.made()
        crashes.killed(steps, number, *arguments, name)
        crashes.clean(name)

    everywhere(steps, attempt)


def test_an_init_that_is_killed_leaves_nothing_even_without_a_delete(crashes: Crashes) -> None:
    # `run`, as strace would follow what `create` leaves.
    arguments = ("run", "--bundle", str(crashes.bundle.command("true").path))
    _, text = crashes.traced(["-f", "-e", f"trace={OF_INIT}"], *arguments, unique("killed"))
    steps = [call for call in OF_INIT.split(",") for _ in range(text.count(f" {call}("))]
    assert len(steps) > 40

    def attempt(number: int) -> None:
        name = unique("killed")
        call = steps[number]
        when = steps[: number + 1].count(call)
        kill = f"inject={call}:signal=KILL:when={when}"
        status, text = crashes.traced(["-f", "-e", f"trace={call}", "-e", kill], *arguments, name)
        assert status == 1, (kill, text)
        assert "was killed by signal 9 before it could execute" in text or "cloche-init ended before" in text
        crashes.nothing_is_left(name)

    everywhere(steps, attempt)
