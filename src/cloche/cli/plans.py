"""`explain` and `trace`: the operations that make a container of a bundle, and how long each takes."""

from __future__ import annotations

import os

from cloche.cli.arguments import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cli.arguments import Parsed
    from cloche.cli.session import Session


def _container_id() -> str:
    return f"plan-{os.getpid()}"


def _explain(_session: Session, parsed: Parsed) -> int:
    from cloche.runtime.command import run

    return run(["run", "--explain", "--bundle", parsed.arguments[0], _container_id()])


def _trace(_session: Session, parsed: Parsed) -> int:
    from cloche.runtime.command import run

    return run(["run", "--trace", "/dev/stdout", "--bundle", parsed.arguments[0], _container_id()])


EXPLAIN = Command(
    "BUNDLE",
    _explain,
    minimum=1,
    maximum=1,
    description=(
        "Show how a bundle becomes a container, and run nothing.\n"
        "An operation a line: who performs it, and what in config.json asks for it."
    ),
)
TRACE = Command(
    "BUNDLE",
    _trace,
    minimum=1,
    maximum=1,
    description=(
        "Run a bundle and show how long each operation took.\n"
        "The table is printed when the bundle's program is executed."
    ),
)
