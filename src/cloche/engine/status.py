"""What state a container is in: derived from facts, never stored.

its process lives           ─▶ running or paused, even where its parent was killed
its parent's lock is held   ─▶ running: the end is about to be recorded
there is no start           ─▶ as its shim says, where a daemon's client made a task of it; else created
the last start has an end   ─▶ exited with that code (created, where it was an error of the start)
the last start has none     ─▶ exited 255: the parent was cut off before it could say how
"""

from __future__ import annotations

import os
import time

from cloche.errors import ClocheError
from cloche.runtime.container import Container as RuntimeContainer
from cloche.shim import ownership, records, timestamps
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.engine.context import Context

UNKNOWN_CODE = 255


class Status(Record):
    """state: created, running, paused or exited. Times in RFC 3339, empty where there is none.

    exit_code: of the last run; 0 before any. error: why the last start failed.
    """

    state: str
    pid: int = 0
    exit_code: int = 0
    oom_killed: bool = False
    started_at: str = ""
    finished_at: str = ""
    error: str = ""

    @property
    def running(self) -> bool:
        """Whether it has processes, be they frozen."""
        return self.state in ("running", "paused")

    def text(self, now_ns: int | None = None) -> str:
        """As `ps` says it: `Up 3 minutes`, `Exited (0) 2 hours ago`, `Created`."""
        now = time.time_ns() if now_ns is None else now_ns
        if self.state == "created":
            return "Created"
        if self.running:
            paused = " (Paused)" if self.state == "paused" else ""
            return f"Up {_ago(now, self.started_at)}{paused}"
        if not self.finished_at:
            return f"Exited ({self.exit_code})"
        return f"Exited ({self.exit_code}) {_ago(now, self.finished_at)} ago"


def of(context: Context, container_id: str) -> Status:
    """The state of a container that the store knows."""
    started, ended = records.read(context.directory(container_id))
    started_at = started.started_at if started else ""
    held = ownership.held(context.run_directory(container_id))
    living = _runtime_status(context, container_id, started_at, held=held)
    if living is not None:
        return living
    if held:
        # The end was recorded in this very moment: the facts from before are too old.
        started, ended = records.read(context.directory(container_id))
    if started is None:
        return _told_by_shim(context, container_id) or Status("created")
    if ended is None:
        return Status("exited", exit_code=UNKNOWN_CODE, started_at=started.started_at)
    return Status(
        "created" if ended.error else "exited",
        exit_code=ended.exit_code,
        oom_killed=ended.oom_killed,
        started_at=started.started_at,
        finished_at=ended.finished_at,
        error=ended.error,
    )


def _told_by_shim(context: Context, container_id: str) -> Status | None:
    """The state of a task that was made over the API, of which there are no records."""
    if not os.path.isdir(context.bundle(container_id)):
        return None
    from cloche.engine.tasks import asking
    from cloche.wire.messages import types

    told = asking.ask(context.root, context.state, context.namespace, container_id)
    if told is None or told.status not in (types.RUNNING, types.PAUSED, types.STOPPED):
        return None
    if told.status != types.STOPPED:
        return Status("paused" if told.status == types.PAUSED else "running", pid=told.pid)
    finished = timestamps.rfc3339(told.exited_at) if told.exited_at else ""
    return Status("exited", exit_code=told.exit_code, finished_at=finished)


def _runtime_status(context: Context, container_id: str, started_at: str, *, held: bool) -> Status | None:
    try:
        container = RuntimeContainer.load(context.runtime_root, container_id)
        state = container.status()
    except (ClocheError, OSError):
        return None
    if state not in ("running", "paused"):
        # Its process has ended and the parent is about to record how: still running to others.
        state = "running" if held and state == "stopped" and container.pid else ""
    if not state:
        return None
    return Status(state, pid=container.pid, started_at=started_at or container.created)


def _ago(now_ns: int, moment: str) -> str:
    """A duration in Docker's words; empty text counts as now."""
    from cloche.engine.durations import in_words

    try:
        return in_words(max(0, now_ns - timestamps.parse(moment)) / 1_000_000_000)
    except ValueError:
        return in_words(0)
