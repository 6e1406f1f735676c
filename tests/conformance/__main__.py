"""The OCI's own validation suite against runc, crun and cloche-runc, side by side.

    make conformance                                   everything
    python -m tests.conformance hooks_stdin mounts     single programs
    python -m tests.conformance new=/opt/crun          one more runtime beside them, whatever it is
    CONFORMANCE_KEEP=1 make conformance                keep bundles and output (the path is printed)

A program passes when it exits with 0, all that it asserted holds, and it asserted something. What
runc or crun passes in this run, cloche-runc must pass; that is the exit status. `exceptions.py` says
why it fails the others, and excuses two, which the packaged runc and crun fail as well.
Built with Go below ~/.cache (or $XDG_CACHE_HOME); needs root. Where Go, root or runc is missing it
says so and ends well, but not where CI=true.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conformance.exceptions import EXCUSED, EXPLAINED
from tests.conformance.suite import Missing, built, names
from tests.conformance.tap import Outcome

CHECKOUT = Path(__file__).parents[2]
OURS = "cloche-runc"
PEERS = ("runc", "crun")
_UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=private")
_WORDS = {"pass": "pass", "fail": "FAIL", "empty": "-"}


def main(arguments: list[str]) -> int:
    """Print the table; the exit status says whether ours passes what others pass."""
    more = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    try:
        runtimes = _runtimes() | more
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        programs = built(Path(cache, "cloche-conformance"))
    except Missing as missing:
        in_ci = os.environ.get("CI", "").lower() in ("1", "true", "yes")
        print(f"conformance: {missing}", file=sys.stderr)
        return 1 if in_ci else 0
    wanted = [argument for argument in arguments if "=" not in argument] or names(programs)
    scratch = Path(tempfile.mkdtemp(prefix="cloche-conformance-"))
    try:
        results = _results(runtimes, programs, scratch, wanted)
    finally:
        if os.environ.get("CONFORMANCE_KEEP"):
            print(f"kept: {scratch}")
        else:
            shutil.rmtree(scratch)
    _print_table(results, wanted)
    return _judged(results, wanted)


def _runtimes() -> dict[str, str]:
    if os.geteuid() != 0:
        raise Missing("the validation suite makes containers as root: run it as root")
    found = {name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") for name in PEERS}
    if not found["runc"]:
        raise Missing("the suite is run against runc first: apt-get install runc")
    ours = Path(sys.prefix, "bin", OURS)
    if not ours.exists():
        raise Missing(f"{ours} is missing: make install")
    return {name: path for name, path in found.items() if path} | {OURS: str(ours)}


def _results(
    runtimes: dict[str, str], programs: Path, scratch: Path, wanted: list[str]
) -> dict[str, dict[str, Outcome]]:
    """{runtime: {program: outcome}}; the runtimes are tried at the same time, as the programs mostly wait."""
    running = {}
    for name, path in runtimes.items():
        folder = scratch / name
        folder.mkdir()
        inside = (sys.executable, "-m", "tests.conformance.inside", path, str(programs), str(folder), *wanted)
        running[name] = subprocess.Popen([*_UNSHARE, *inside], cwd=CHECKOUT)
    results = {}
    statuses = {name: process.wait() for name, process in running.items()}
    for name, status in statuses.items():
        if status:
            raise SystemExit(f"conformance: the run with {name} ended with status {status}")
        document = json.loads((scratch / name / "outcomes.json").read_text())
        _remove_cgroups(document["ids"])
        results[name] = {program: Outcome(*values) for program, values in document["outcomes"].items()}
    return results


def _remove_cgroups(ids: list[str]) -> None:
    """Those that the suite's containers were in, where their runtime or the suite forgot them."""
    for hierarchy in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()):
        for name in ("cgrouptest", "testdir/cgrouptest/container", "testdir/cgrouptest", "testdir", *ids):
            folder = hierarchy / name
            if (folder / "cgroup.procs").exists() and not (folder / "cgroup.procs").read_text():
                folder.rmdir()


def _print_table(results: dict[str, dict[str, Outcome]], wanted: list[str]) -> None:
    width = max(map(len, wanted))
    print(f"{'':{width}}" + "".join(f"  {name:<13}" for name in results))
    for program in wanted:
        cells = []
        for outcomes in results.values():
            one = outcomes[program]
            cells.append(f"{_WORDS[one.verdict]:<5}{one.passed}/{one.passed + one.failed}")
        line = f"{program:{width}}" + "".join(f"  {cell:<13}" for cell in cells)
        print(line.rstrip())
    totals = (sum(one.verdict == "pass" for one in outcomes.values()) for outcomes in results.values())
    print((f"{f'passed of {len(wanted)}':{width}}" + "".join(f"  {total:<13}" for total in totals)).rstrip())


def _judged(results: dict[str, dict[str, Outcome]], wanted: list[str]) -> int:
    missed = 0
    for program in wanted:
        mine = results[OURS][program]
        others = [name for name in results if name != OURS and results[name][program].verdict == "pass"]
        if mine.verdict == "pass" or (mine.verdict == "empty" and not others):
            continue
        if program in EXCUSED or not others:
            print(f"{program}: {EXCUSED.get(program) or EXPLAINED.get(program) or mine.first_failure}")
        else:
            missed += 1
            print(f"{program}: passed by {' and '.join(others)}, not by {OURS}: {mine.first_failure}")
    print(f"conformance: {missed or 'none'} of the programs that others pass failed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
