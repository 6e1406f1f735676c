"""Run the programs with one runtime, in kernel namespaces that end with this process.

The suite leaves processes and mounts behind, and one program binds the machine's /etc: nothing of
this may reach the machine, so `__main__` starts this module with unshare(1), in mount and pid
namespaces of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.conformance.exceptions import ATTEMPTS, RACING
from tests.conformance.suite import names
from tests.conformance.tap import Outcome, outcome

TIMEOUT_S = 60
# They sleep in steps of a second while they wait for containers; so several at once.
WORKERS = 4
# All use one cgroup, `/cgrouptest`, whichever runtime they try.
_SHARED_CGROUP = ("linux_cgroups_", "delete_")

# Debian's crun refuses the version of the specification that the suite writes, not what is in it.
_OLDER_CONFIG = r"""
for bundle; do
    [ ! -f "$bundle/config.json" ] || sed -i 's/\("ociVersion": *"1\)[^"]*"/\1.0.0"/' "$bundle/config.json"
done
"""


def main(arguments: list[str]) -> None:
    """Arguments: the runtime's path, the programs' folder, a scratch folder, names of programs or none.

    Writes {program: outcome} as JSON to `outcomes.json` in the scratch folder.
    """
    runtime, programs, scratch = arguments[0], Path(arguments[1]), Path(arguments[2])
    wanted = arguments[3:] or names(programs)
    if Path(runtime).name == "crun":
        _show_one_hierarchy_kind()
    command = _with_own_root(runtime, scratch, before=_OLDER_CONFIG if Path(runtime).name == "crun" else "")
    with ThreadPoolExecutor(WORKERS) as workers:
        outcomes = list(workers.map(lambda name: _run(name, command, programs, scratch), wanted))
    ids = os.listdir(scratch / "root")
    for container in ids:
        subprocess.run([command, "delete", "--force", container], capture_output=True, check=False)
    document = {"outcomes": dict(zip(wanted, outcomes, strict=True)), "ids": ids}
    (scratch / "outcomes.json").write_text(json.dumps(document))


def _show_one_hierarchy_kind() -> None:
    """The crun refuses a cgroup v2 mount beside v1 hierarchies."""
    unified = Path("/sys/fs/cgroup/unified")
    if unified.is_dir():
        subprocess.run(["umount", unified], check=False)


def _with_own_root(runtime: str, scratch: Path, *, before: str) -> str:
    """The suite calls its runtime without a root, so a script stands before it."""
    (scratch / "root").mkdir()
    script = scratch / Path(runtime).name
    script.write_text(f'#!/bin/sh\n{before}exec "{runtime}" --root "{scratch}/root" "$@"\n')
    script.chmod(0o755)
    return str(script)


def _run(name: str, command: str, programs: Path, scratch: Path) -> Outcome:
    """Run a program, one that races against its containers as often as it takes it to win once."""
    for attempt in range(ATTEMPTS if name in RACING else 1):
        folder = scratch / "bundles" / (f"{name}-{attempt}" if attempt else name)
        folder.mkdir(parents=True)
        result = _run_once(name, command, programs, folder, scratch.parent / "cgroup.lock")
        if result.verdict == "pass":
            break
    return result


def _run_once(name: str, command: str, programs: Path, folder: Path, one_at_a_time: Path) -> Outcome:
    with ExitStack() as stack:
        if name.startswith(_SHARED_CGROUP):
            lock = stack.enter_context(one_at_a_time.open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        environment = os.environ | {"RUNTIME": command, "TMPDIR": str(folder)}
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            try:
                status: int | None = subprocess.run(
                    [programs / name],
                    cwd=programs,
                    env=environment,
                    stdout=out,
                    stderr=err,
                    timeout=TIMEOUT_S,
                ).returncode
            except subprocess.TimeoutExpired:
                status = None
    text = (folder / "out").read_text(errors="replace")
    errors = (folder / "err").read_text(errors="replace")
    return outcome(text, errors, status)


if __name__ == "__main__":
    main(sys.argv[1:])
