"""`cloched config default|dump|migrate`."""

from __future__ import annotations

import sys

from cloche.daemon import config
from cloche.daemon.config_check import check
from cloche.daemon.config_migration import migrate
from cloche.daemon.toml_text import dumps

ACTIONS = ("default", "dump", "migrate")


def run(action: str, path: str) -> int:
    """Print a configuration; returns the exit code.

    action: "default": what holds without a file. "dump": what holds with the one at `path` and those
    that it imports. "migrate": the file at `path` alone, in the present version, saying no more than
    it does now. Raises InvalidArgument, OSError.
    """
    if action == "default":
        print(dumps(config.default().values), end="")
    elif action == "dump":
        loaded = config.load(path, missing_ok=True)
        _warn(loaded.warnings)
        print(dumps(loaded.values), end="")
    else:
        tree = migrate(config.read(path), path)
        _warn(check(tree, path))
        first = {"version": tree.pop("version")}
        print(dumps(first | tree), end="")
    return 0


def _warn(warnings: list[str] | tuple[str, ...]) -> None:
    for warning in warnings:
        print(f"cloched: warning: {warning}", file=sys.stderr)
