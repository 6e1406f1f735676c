"""The runtimes' commands on one bundle, beside runc and crun.

crun refuses a machine that shows cgroup v1 and v2 at once, so what is beside it runs in a mount
namespace that shows v1 alone; ours too, then. This module is the program in there:
python -m bench.runtimes CRUN OURS BUNDLE SLEEPING ROUNDS prints the rows' values as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import Work, command, in_turn, peak_memory, side_by_side
from bench.stage import Stage
from bench.table import Row
from tests.peers import peer

# What must hold beside runc; what is aimed at beside runc and beside crun.
ASKED = {
    "run": (1.0, 0.6, 1.5),
    "create, start, delete": (1.0, 1.0, 1.5),
    "exec": (1.0, 1.0, 1.5),
    "state": (1.0, 1.0, 1.5),
}
_ONE_KIND = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
# Hierarchies in which nothing may be made: whoever can do without cgroups does.
_CLOSED = r"""
    sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .* - cgroup.*/\1/p' /proc/self/mountinfo |
        while read -r place; do mount -o remount,bind,ro "$place"; done
    exec "$@"
"""
RESIDENT_BYTES = 100 << 10
GUARD_S = 0.001
MEMORY_ROUNDS = 21
CONTAINER = "bench-runtimes"


class Runtime:
    """One runtime with a state root of its own; bundles: of one that ends at once, of one that stays."""

    def __init__(self, program: str, root: str, bundle: str, sleeping: str) -> None:
        self.words = (program, "--root", root)
        self.name = f"{CONTAINER}-{Path(program).name}-{os.getpid()}"
        self.bundle = bundle
        self.sleeping = sleeping

    def work(self, *arguments: str) -> Work:
        return command(*self.words, *arguments)

    @contextmanager
    def works(self) -> Iterator[dict[str, Work]]:
        """What is measured, by the names in ASKED."""
        name = self.name
        steps = [
            self.work("create", "--bundle", self.bundle, name),
            self.work("start", name),
            self.work("delete", "--force", name),
        ]
        self.work("create", "--bundle", self.sleeping, f"{name}-stays")()
        self.work("start", f"{name}-stays")()
        try:
            yield {
                "run": self.work("run", "--bundle", self.bundle, name),
                "create, start, delete": in_turn(steps),
                "exec": self.work("exec", f"{name}-stays", "/bin/true"),
                "state": self.work("state", f"{name}-stays"),
            }
        finally:
            self.work("delete", "--force", f"{name}-stays")()


def measured(runtimes: list[Runtime], rounds: int) -> dict[str, list[float]]:
    """The medians of each work, runtime by runtime."""
    one, other = runtimes
    with one.works() as ours, other.works() as theirs:
        return {name: side_by_side([ours[name], theirs[name]], rounds) for name in ASKED}


def rows(stage: Stage, rounds: int) -> list[Row]:
    """All of the runtime's rows."""
    ours = stage.command("cloche-runc")
    places = (str(stage.bundle), str(stage.sleeping))
    mine = Runtime(ours, str(stage.path / "ours"), *places)
    runc = Runtime(peer("runc"), str(stage.path / "theirs"), *places)
    beside_runc = measured([mine, runc], rounds)
    words = _apart(_ONE_KIND, "bench.runtimes", peer("crun"), ours, *places, str(rounds))
    beside_crun = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
    found = []
    for name, (must, aim, aim_crun) in ASKED.items():
        found.append(Row(f"cloche-runc {name}", "runc", beside_runc[name], must, aim))
        found.append(Row(f"cloche-runc {name}", "crun", beside_crun[name], None, aim_crun))
    return [*found, *_memory(mine, runc), _entering(stage, rounds)]


def _apart(script: str, module: str, *arguments: str) -> list[str]:
    """A module of the benchmark's in a mount namespace of its own, changed by a shell script."""
    inside = ["sh", "-c", script, "sh", sys.executable, "-m", module, *arguments]
    return ["unshare", "--mount", "--propagation", "private", *inside]


def _memory(mine: Runtime, runc: Runtime) -> list[Row]:
    """Peak memory of `run`, and what a created container's process has of its own."""
    # A collected heap is as large as chance has it: one run of each would be no comparison.
    peaks = [
        statistics.median(
            peak_memory(*runtime.words, "run", "--bundle", runtime.bundle, CONTAINER)
            for _ in range(MEMORY_ROUNDS)
        )
        for runtime in (mine, runc)
    ]
    mine.work("create", "--bundle", mine.bundle, CONTAINER)()
    try:
        state = subprocess.run([*mine.words, "state", CONTAINER], check=True, stdout=subprocess.PIPE)
        pages = Path(f"/proc/{json.loads(state.stdout)['pid']}/smaps_rollup").read_text()
    finally:
        mine.work("delete", "--force", CONTAINER)()
    resident = next(int(line.split()[1]) << 10 for line in pages.splitlines() if line.startswith("Rss:"))
    return [
        Row("peak memory of run", "runc", [float(peak) for peak in peaks], 1.0, unit="KB"),
        Row("cloche-init at the gate", "limit", [float(resident), RESIDENT_BYTES], 1.0, unit="KB"),
    ]


def _entering(stage: Stage, rounds: int) -> Row:
    """A create from a warm program that enters cgroups, beside one that may make none.

    There was a wait of 12 to 15 ms here once, for an RCU grace period.
    """
    arguments = (str(stage.path / "guard"), str(stage.ungrouped))
    here = Creator(_apart('exec "$@"', "bench.creator", *arguments))
    there = Creator(_apart(_CLOSED, "bench.creator", *arguments))
    with here as grouped, there as ungrouped:
        times = [(grouped.timed(), ungrouped.timed()) for _ in range(rounds + 1)][1:]
    values = [statistics.median(column) for column in zip(*times, strict=True)]
    return Row("create in cgroups", "create without", values, within=GUARD_S)


class Creator:
    """A process of bench.creator, which makes a container whenever it is asked."""

    def __init__(self, words: list[str]) -> None:
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def timed(self) -> float:
        """Seconds until a container is created. It is deleted again before this returns."""
        assert self._process.stdin
        start = time.perf_counter()
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        self._hear()
        seconds = time.perf_counter() - start
        self._hear()
        return seconds

    def _hear(self) -> None:
        assert self._process.stdout
        if not self._process.stdout.readline():
            raise RuntimeError(f"bench.creator ended with status {self._process.wait()}")

    def __enter__(self) -> Creator:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def main(crun: str, ours: str, bundle: str, sleeping: str, rounds: str) -> None:
    """See the module."""
    scratch = tempfile.mkdtemp(prefix="cloche-bench-apart-")
    try:
        places = (bundle, sleeping)
        runtimes = [
            Runtime(program, f"{scratch}/{name}", *places)
            for name, program in (("ours", ours), ("crun", crun))
        ]
        print(json.dumps(measured(runtimes, int(rounds))))
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main(*sys.argv[1:])
