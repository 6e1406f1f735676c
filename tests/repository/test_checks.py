"""Linter, formatter, types and layers: what a change must satisfy before anyone reads it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON_TREES = ["src", "tests", "bench", "native", "hatch_build.py"]


def run(*command: str) -> None:
    """Run a tool of the environment from the repository's root; what it says is the failure."""
    result = subprocess.run(
        [str(Path(sys.prefix, "bin", command[0])), *command[1:]],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "src", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-12000:] + result.stderr[-4000:]


def test_the_linter_has_nothing_to_say() -> None:
    run("ruff", "check", "--quiet", *PYTHON_TREES)


def test_everything_is_formatted() -> None:
    run("ruff", "format", "--check", "--quiet", *PYTHON_TREES)


def test_types_hold_strictly() -> None:
    run("mypy", "src", "tests", "bench")


def test_imports_point_downwards_only() -> None:
    run("lint-imports", "--no-cache")
