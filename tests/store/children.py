"""Processes of their own for tests: to be killed at a named place, or to compete."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

_PROLOGUE = """
import os, sys
from cloche.store.content import ContentStore
from cloche.store.metadata import Metadata
from cloche.store.snapshots.open import snapshotter
root = sys.argv[1]
metadata = Metadata(root + "/meta.db")
content = ContentStore(root + "/content")
"""


def start(
    root: object, code: str, *, fault: str = "", wrapper: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """Run code that finds `root`, `metadata` and `content` ready, in a process of its own.

    wrapper: a command that runs another.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "CLOCHE_FAULT": fault}
    return subprocess.Popen(
        [*wrapper, sys.executable, "-c", _PROLOGUE + textwrap.dedent(code), str(root)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(root: object, code: str) -> str:
    """As `start`, to its end, which must be a good one; returns what it printed."""
    with start(root, code) as child:
        output, complaint = child.communicate(timeout=60)
    assert child.returncode == 0, complaint
    return output


def run_killed(root: object, code: str, fault: str) -> None:
    """As `start`, and see it killed at the fault point."""
    with start(root, code, fault=fault) as child:
        _, complaint = child.communicate(timeout=60)
    assert child.returncode == -9, (
        f"was to be killed at {fault}, and ended with {child.returncode}: {complaint}"
    )
