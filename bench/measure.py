"""Timing two ways of doing the same work side by side."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

Work = Callable[[], None]


def command(*words: str) -> Work:
    """Work that runs a program with its output thrown away; RuntimeError where it fails.

    Spawned without `subprocess`, whose own time would flatter the slower side.
    """
    silence = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
    ]
    environment = dict(os.environ)

    def run() -> None:
        pid = os.posix_spawn(words[0], words, environment, file_actions=silence)
        _, status = os.waitpid(pid, 0)
        if status != 0:
            code = os.waitstatus_to_exitcode(status)
            raise RuntimeError(f"{' '.join(words)}: exit code {code}")

    return run


def in_turn(works: Sequence[Work]) -> Work:
    """Work that is several others, one after the other."""

    def run() -> None:
        for work in works:
            work()

    return run


# What a program has resident before it executes another counts as the other's: so a small one starts it.
_WAITER = """
import os, sys
silence = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=silence)
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak_memory(*words: str) -> int:
    """The most memory in bytes that a program, or one that it waited for, had resident at once."""
    waiter = [sys.executable, "-I", "-S", "-c", _WAITER, *words]
    done = subprocess.run(waiter, check=True, stdout=subprocess.PIPE)
    return int(done.stdout) << 10


def pss_bytes(pid: int) -> float:
    """The memory of a process, what it shares counted as parts."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # a worker that has ended meanwhile
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def timed(work: Work) -> float:
    """Seconds that one run takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def side_by_side(works: Sequence[Work], rounds: int, between: Work | None = None) -> list[float]:
    """The median seconds of each work, all run in turn so that the machine's moods meet all alike.

    rounds: counted after one round that is not counted. between: runs untimed before each round.
    """
    times: list[list[float]] = [[] for _ in works]
    for round_number in range(rounds + 1):
        if between:
            between()
        for taken, work in zip(times, works, strict=True):
            seconds = timed(work)
            if round_number:
                taken.append(seconds)
    return [statistics.median(taken) for taken in times]
