"""`events`: what a container uses, and when it runs out of memory, as a stream of JSON."""

from __future__ import annotations

import os
import select
import time

from cloche.errors import FailedPrecondition, InvalidArgument
from cloche.runtime.face.arguments import Flag
from cloche.runtime.face.formats import json_text
from cloche.runtime.face.invocation import Command, Invocation
from cloche.spec import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.kernel.cgroups.oom import OomWatch
    from cloche.runtime.container import Container


def duration_s(text: str) -> float:
    """Seconds of a duration as Go's programs take it: 500ms, 1.5s, 1h30m. Raises InvalidArgument."""
    try:
        return duration.seconds(text)
    except InvalidArgument:
        raise InvalidArgument(f"--interval {text}: must be a duration such as 500ms or 5s") from None


def _put(event: dict[str, Any]) -> None:
    line = (json_text(event) + "\n").encode()
    while line:
        line = line[os.write(1, line) :]


def _put_statistics(container: Container) -> None:
    from cloche.runtime.face.statistics import statistics

    _put({"type": "stats", "id": container.id, "data": statistics(container.cgroup.paths)})


def events(invocation: Invocation) -> int:
    """Print statistics at intervals and notices of memory that ran out, until the container ends."""
    options = invocation.options
    interval_s = duration_s(options.text("interval", "5s"))
    if interval_s <= 0:
        raise InvalidArgument("duration interval must be greater than 0")
    container = invocation.container()
    process = container.stored.open_process()
    if process is None:
        raise FailedPrecondition(f"container with id {container.id} is not running")
    try:
        if options.switch("stats"):
            _put_statistics(container)
            return 0
        _watch(container, process, interval_s)
    finally:
        os.close(process)
    return 0


def _watch(container: Container, process: int, interval_s: float) -> None:
    from cloche.kernel.cgroups.oom import OomWatch

    try:
        watch = OomWatch(container.cgroup.paths)
    except OSError as error:
        raise FailedPrecondition(
            f"no notices of memory that runs out: {error.filename}: {error.strerror} "
            "(--stats shows what is used, once)"
        ) from None
    with watch:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        poll.register(watch, watch.interest)
        due = time.monotonic() + interval_s
        while True:
            ready = dict(poll.poll(max(0.0, due - time.monotonic()) * 1000))
            _put_notices(container, watch)
            if process in ready:
                return
            if time.monotonic() >= due:
                _put_statistics(container)
                due += interval_s


def _put_notices(container: Container, watch: OomWatch) -> None:
    for _ in range(watch.take()):
        _put({"type": "oom", "id": container.id})


COMMANDS = {
    "events": Command(
        "print what a container uses, and when it runs out of memory",
        "<container-id>",
        events,
        (
            Flag("interval", "text", "time between two statistics (default: 5s)"),
            Flag("stats", "switch", "print the statistics once, and leave"),
        ),
        description="One JSON object a line, until the container has ended.",
    ),
}
