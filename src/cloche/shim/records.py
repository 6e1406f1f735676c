"""What a container's parent leaves on disk about its runs: that it started, and how it ended.

Both files lie in the container's own directory. An end is on disk for good before anyone is told
of it. A start that has no end, and no living parent either, was cut off (a reboot, a kill -9).
"""

from __future__ import annotations

import os

from cloche.errors import ClocheError
from cloche.runtime.failures import ExecFailed
from cloche.spec.document import dumps, load_file
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STARTED, _ENDED = "started.json", "exit.json"
NOT_FOUND, NOT_EXECUTABLE, FAILED = 127, 126, 125
_ENOENT = 2


class Started(Record):
    """A start: when (RFC 3339)."""

    started_at: str


class Ended(Record):
    """An end. started_at: which start it belongs to. error: why the start failed, where it did."""

    started_at: str
    finished_at: str
    exit_code: int
    oom_killed: bool = False
    error: str = ""


def start_code(error: BaseException) -> int:
    """The exit code of a container that could not be started: 127, 126 or 125, as Docker's."""
    if isinstance(error, ExecFailed):
        return NOT_FOUND if error.errno == _ENOENT else NOT_EXECUTABLE
    return FAILED


def write_started(directory: str, record: Started) -> None:
    """Put a start on disk, durably. Raises OSError."""
    _replace(directory, _STARTED, record)


def write_ended(directory: str, record: Ended) -> None:
    """Put an end on disk, durably. Raises OSError."""
    _replace(directory, _ENDED, record)


def read(directory: str) -> tuple[Started | None, Ended | None]:
    """The last start and its end; an end of an earlier start is not given.

    A file that cannot be read counts as absent: facts that are torn are no facts.
    """
    started, ended = _load(directory, _STARTED, Started), _load(directory, _ENDED, Ended)
    if started is None or (ended is not None and ended.started_at != started.started_at):
        return started, None
    return started, ended


def _load(directory: str, name: str, kind: type[Any]) -> Any:
    try:
        document = load_file(f"{directory}/{name}", limit_bytes=1 << 16)
        return kind(**{key: value for key, value in document.items() if key in kind._fields})
    except (OSError, ClocheError, TypeError, AttributeError):
        return None


def _replace(directory: str, name: str, record: Record) -> None:
    data = dumps(dict(zip(record._fields, record.values(), strict=True)))
    path = f"{directory}/{name}"
    descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(f"{path}.new", path)
    parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
