"""Cgroups of a test's own, and processes that join them the way a container does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from cloche.kernel.cgroups.cgroup import Cgroup
from cloche.kernel.cgroups.layout import layout

v1_only = pytest.mark.skipif(
    not any("memory" in hierarchy.controllers for hierarchy in layout().legacy),
    reason="the controllers are not in v1 here",
)

# Joins by writing "0" to descriptors that it was given, says so, and becomes the program.
JOIN = """
import os, sys
for descriptor in map(int, sys.argv[1].split(",")):
    os.write(descriptor, b"0")
    os.close(descriptor)
os.write(1, b"joined\\n")
os.execvp(sys.argv[2], sys.argv[2:])
"""


class Inside:
    """Starts programs inside a cgroup."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def __call__(self, cgroup: Cgroup, *command: str) -> subprocess.Popen[str]:
        """Start a program in the cgroups and wait until it has joined all of them."""
        paths = cgroup.task_files() or [f"{cgroup.unified_directory()}/cgroup.procs"]
        files = [os.open(path, os.O_WRONLY | os.O_CLOEXEC) for path in paths]
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", JOIN, ",".join(map(str, files)), *command],
                pass_fds=files,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        finally:
            for descriptor in files:
                os.close(descriptor)
        self.started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "joined\n"
        return process

    def reap(self) -> None:
        """Wait for all that were started, which have been killed."""
        for process in self.started:
            process.wait()


@pytest.fixture
def inside() -> Iterator[Inside]:
    starter = Inside()
    yield starter
    for process in starter.started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def new_cgroup(cgroup_parent: str, inside: Inside) -> Iterator[Callable[..., Cgroup]]:
    """Makes cgroups below the test's own parent; kills and removes them afterwards."""
    made: list[Cgroup] = []

    def make(name: str = "one") -> Cgroup:
        cgroup = Cgroup.create(layout(), f"{cgroup_parent}/{name}")
        made.append(cgroup)
        return cgroup

    yield make
    for cgroup in reversed(made):
        cgroup.kill()
        inside.reap()
        cgroup.destroy()
