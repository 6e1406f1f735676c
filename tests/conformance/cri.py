"""Kubernetes' own validation suite for the CRI, critest, against cloched and containerd side by side.

    python -m tests.conformance.cri                    both, as `make conformance` does
    python -m tests.conformance.cri cloche             only ours
    python -m tests.conformance.cri cloche -ginkgo.focus 'port mapping'    whatever critest takes
    python -m tests.conformance.cri containerd=/usr/bin/containerd cloche  another reference
    CONFORMANCE_KEEP=1 ...                             keep logs and reports (the path is printed)

Each daemon has a machine of its own as far as namespaces make one, with a registry that serves the
images which the suite asks for (`tests/cri/images.py`). The suite and the reference are built with Go
below ~/.cache, or critest is taken from PATH.

What the reference passes, cloched must pass, and it must not fail what the reference skips; that is the
exit status. One spec is left out: it compares the digest of an image that only its publisher has.
Where Go or root is missing it says so and ends well, but not where CI=true.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests import leftovers
from tests.conformance.suite import Missing
from tests.cri.tools import new_containerd, tool

CHECKOUT = Path(__file__).parents[2]
OURS, REFERENCE = "cloche", "containerd"
_UNSHARE = (
    *("unshare", "--mount", "--net", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"),
    "--propagation=private",
)
_WORDS = ("passed", "failed", "skipped")


class Spec(NamedTuple):
    """What one spec came to: a word of _WORDS (anything but passing and skipping is failing), and why.

    chapter: of the suite, that it is in.
    """

    chapter: str
    state: str
    reason: str


def main(arguments: list[str]) -> int:
    """Print the table; the exit status says whether ours passes what the reference passes."""
    flags = [argument for argument in arguments if argument.startswith("-")]
    cut = arguments.index(flags[0]) if flags else len(arguments)
    try:
        daemons = _daemons(arguments[:cut] or [REFERENCE, OURS])
        tool("critest")
    except Missing as missing:
        in_ci = os.environ.get("CI", "").lower() in ("1", "true", "yes")
        print(f"conformance: {missing}", file=sys.stderr)
        return 1 if in_ci else 0
    # Short: sockets are below it.
    scratch = Path(tempfile.mkdtemp(prefix="cc-"))
    try:
        results = _results(daemons, scratch, arguments[cut:])
    finally:
        leftovers.remove_parent_cgroup("k8s.io")
        if os.environ.get("CONFORMANCE_KEEP"):
            print(f"kept: {scratch}")
        else:
            shutil.rmtree(scratch)
    _print_table(results)
    return _judged(results)


def _daemons(words: list[str]) -> dict[str, str]:
    """{name: `cloche` or the path of a containerd}."""
    if os.geteuid() != 0:
        raise Missing("critest makes containers as root: run it as root")
    daemons = {}
    for word in words:
        name, _, path = word.partition("=")
        if name not in (OURS, REFERENCE):
            raise SystemExit(f"conformance: {word}: neither {OURS} nor {REFERENCE} nor {REFERENCE}=PATH")
        daemons[name] = OURS if name == OURS else path or new_containerd()
    return daemons


def _results(daemons: dict[str, str], scratch: Path, flags: list[str]) -> dict[str, dict[str, Spec]]:
    """{daemon: {spec: outcome}}; the daemons are tried at the same time, as the suite mostly waits."""
    running = {}
    for name, which in daemons.items():
        folder = scratch / name
        folder.mkdir()
        inside = (sys.executable, "-m", "tests.conformance.cri_inside", which, str(folder), *flags)
        running[name] = subprocess.Popen([*_UNSHARE, *inside], cwd=CHECKOUT)
    statuses = {name: process.wait() for name, process in running.items()}
    for name, status in statuses.items():
        if status:
            log = scratch / name / "critest.log"
            said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise SystemExit(f"conformance: critest with {name} ended with status {status}\n{said}")
    return {name: _read(scratch / name / "report.json") for name in daemons}


def _read(report: Path) -> dict[str, Spec]:
    (suite,) = json.loads(report.read_text())
    found = {}
    for spec in suite["SpecReports"]:
        texts = [*(spec["ContainerHierarchyTexts"] or ("suite",)), spec["LeafNodeText"]]
        name = " ".join(texts).removeprefix("[k8s.io] ")
        reason = ((spec.get("Failure") or {}).get("Message") or "").strip()
        # What has no reason to be skipped was not to be run; what is no spec counts where it fails.
        left_out = spec["State"] == "skipped" and not reason
        if left_out or (spec["LeafNodeType"] != "It" and spec["State"] == "passed"):
            continue
        state = spec["State"] if spec["State"] in ("passed", "skipped") else "failed"
        found[name] = Spec(texts[0].removeprefix("[k8s.io] "), state, reason)
    return found


def _print_table(results: dict[str, dict[str, Spec]]) -> None:
    chapters = sorted({spec.chapter for specs in results.values() for spec in specs.values()})
    width = max(map(len, chapters))
    print(f"{'':{width}}" + "".join(f"  {name:<33}" for name in results).rstrip())
    for chapter in chapters:
        cells = [
            _cell([spec for spec in specs.values() if spec.chapter == chapter]) for specs in results.values()
        ]
        print((f"{chapter:{width}}" + "".join(f"  {cell:<33}" for cell in cells)).rstrip())
    totals = [_cell(list(specs.values())) for specs in results.values()]
    print((f"{'all':{width}}" + "".join(f"  {total:<33}" for total in totals)).rstrip())


def _cell(specs: list[Spec]) -> str:
    counts = {word: sum(spec.state == word for spec in specs) for word in _WORDS}
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "-"


def _judged(results: dict[str, dict[str, Spec]]) -> int:
    ours, reference = results.get(OURS, {}), results.get(REFERENCE, {})
    missed = 0
    for name in sorted(ours.keys() | reference.keys()):
        mine, theirs = ours.get(name), reference.get(name)
        for daemon, spec in ((OURS, mine), (REFERENCE, theirs)):
            if spec and spec.state == "failed":
                print(f"{daemon} fails: {name}: {' '.join(spec.reason.split())[:300]}")
        if not mine or mine.state == "passed" or (theirs and theirs.state == "failed"):
            continue
        if mine.state == "failed":
            missed += 1
        elif theirs and theirs.state == "passed":
            missed += 1
            print(f"{OURS} skips what {REFERENCE} passes: {name}: {mine.reason}")
    if ours:
        print(f"conformance: {missed or 'none'} of the specs failed that must not")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
