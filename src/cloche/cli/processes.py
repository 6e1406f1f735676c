"""`top` and `stats`: what runs in containers, and what that takes."""

from __future__ import annotations

import os
import time

from cloche.cli import human, table
from cloche.cli.arguments import Command
from cloche.cli.output import one_line, write
from cloche.errors import FailedPrecondition, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cloche.cli.arguments import Parsed
    from cloche.cli.session import Session
    from cloche.engine.container import Container
    from cloche.engine.statistics import Statistics

_PID = 1  # the engine's columns are those of `ps -ef`
_INTERVAL_S = 1.0
_HEADERS = {
    "BlockIO": "BLOCK I/O",
    "CPUPerc": "CPU %",
    "Container": "CONTAINER",
    "ID": "CONTAINER ID",
    "MemPerc": "MEM %",
    "MemUsage": "MEM USAGE / LIMIT",
    "Name": "NAME",
    "NetIO": "NET I/O",
    "PIDs": "PIDS",
}
_DEFAULT = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
_SHORT_ID = 12
_CLEAR = "\033[2J\033[H"


def _top(session: Session, parsed: Parsed) -> int:
    name, *options = parsed.arguments
    titles, rows = session.engine.containers.get(name).top()
    if options:
        titles, rows = by_ps([row[_PID] for row in rows], options)
    cells = [[one_line(cell) for cell in row] for row in (titles, *rows)]
    write(table.aligned(cells))
    return 0


def by_ps(pids: Sequence[str], options: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """(titles, rows) of the host's own `ps` with the user's options, for these processes alone.

    Raises InvalidArgument where ps refuses the options or they hide the PID column.
    """
    import subprocess

    try:
        result = subprocess.run(["ps", *options], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise FailedPrecondition("options for ps need the host's ps program, which is missing") from None
    if result.returncode:
        said = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
        raise InvalidArgument(f"ps: {said[0]}")
    lines = result.stdout.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InvalidArgument("ps: the options must leave the PID column in the output")
    column = titles.index("PID")
    cells = [line.split(None, len(titles) - 1) for line in lines[1:]]
    return titles, [row for row in cells if len(row) > column and row[column] in pids]


def _stats(session: Session, parsed: Parsed) -> int:
    form = parsed.text("format")
    streams = not parsed.on("no-stream")
    clears = streams and os.isatty(1) and (not form or form.startswith("table"))
    containers = _chosen(session, parsed)
    before = {one.id: _reading(one) for one in containers}
    while True:
        time.sleep(_INTERVAL_S)
        after = {one.id: _reading(one) for one in containers}
        rows = [_row(one, before[one.id], after[one.id], parsed) for one in containers]
        text = table.rendered(rows, _HEADERS, _DEFAULT, form=form)
        write(_CLEAR + text if clears else text)
        if not streams:
            return 0
        before = after
        if not parsed.arguments:
            containers = _chosen(session, parsed)
            before.update({one.id: _reading(one) for one in containers if one.id not in before})


def _chosen(session: Session, parsed: Parsed) -> list[Container]:
    if parsed.arguments:
        return [session.engine.containers.get(name) for name in parsed.arguments]
    return session.engine.containers.list(all=parsed.on("all"))


def _reading(container: Container) -> Statistics | None:
    """None for one that does not run, which docker shows as dashes."""
    try:
        return container.stats()
    except FailedPrecondition:
        return None


def _row(
    container: Container, before: Statistics | None, now: Statistics | None, parsed: Parsed
) -> dict[str, Any]:
    identifier = container.id if parsed.on("no-trunc") else container.id[:_SHORT_ID]
    row = dict.fromkeys(_HEADERS, "--") | {"Container": identifier, "ID": identifier, "Name": container.name}
    if now is None:
        return row | {"BlockIO": "-- / --", "MemUsage": "-- / --", "NetIO": "-- / --"}
    limit = now.memory_limit_bytes
    return row | {
        "BlockIO": f"{_size(now.block_read_bytes)} / {_size(now.block_written_bytes)}",
        "CPUPerc": f"{_cpu_percent(before, now):.2f}%",
        "MemPerc": f"{now.memory_bytes / limit * 100 if limit else 0:.2f}%",
        "MemUsage": f"{human.binary_size(now.memory_bytes)} / {human.binary_size(limit)}",
        "NetIO": f"{_size(now.network_received_bytes)} / {_size(now.network_sent_bytes)}",
        "PIDs": str(now.pids),
    }


def _size(size_bytes: int) -> str:
    return human.size(size_bytes, digits=3)


def _cpu_percent(before: Statistics | None, now: Statistics) -> float:
    """Of one processor, so that it may be more than a hundred."""
    if before is None or now.time_ns <= before.time_ns or now.cpu_ns < before.cpu_ns:
        return 0.0
    return (now.cpu_ns - before.cpu_ns) / (now.time_ns - before.time_ns) * 100


TOP = Command("CONTAINER [ps OPTIONS]", _top, minimum=1, maximum=None, passes_on=1)
STATS = Command(
    "[OPTIONS] [CONTAINER...]",
    _stats,
    groups=(
        (
            "Options",
            (
                ("all", "a", "bool", "Show also those that do not run"),
                ("format", "", "string", '"table", "table TEMPLATE", "json" or a Go template'),
                ("no-stream", "", "bool", "Show the first result and end"),
                ("no-trunc", "", "bool", "Shorten nothing"),
            ),
        ),
    ),
    maximum=None,
)
