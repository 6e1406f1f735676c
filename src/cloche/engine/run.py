"""What `Engine.run` takes and gives: settings put together, output collected within a limit."""

from __future__ import annotations

from cloche.engine import grammar
from cloche.engine.options import Options
from cloche.errors import DeadlineExceeded, ResourceExhausted
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloche.engine.options import MountOption
    from cloche.shim.streams import Streams


class Result(Record):
    """How a command ended, and what it wrote. exit_code: 128 and the signal where one killed it."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class RunTimeout(DeadlineExceeded):
    """The command was killed because its time was over. result: what it had written by then."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


class OutputLimit(ResourceExhausted):
    """The command was killed because it wrote too much. result: what it had written by then."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


def merge(
    options: Options | None,
    args: Sequence[str],
    *,
    env: Mapping[str, str] | None,
    user: str | None,
    workdir: str | None,
    network: str | None,
    memory: int | str | None,
    cpus: float | None,
    pids_limit: int | None,
    read_only: bool | None,
    mounts: Sequence[MountOption] | None,
) -> Options:
    """Options with what was named beside them; see `Engine.run`."""
    merged = options or Options()
    changes: dict[str, object] = {
        name: value
        for name, value in (
            ("user", user),
            ("workdir", workdir),
            ("network", network),
            ("cpus", cpus),
            ("pids_limit", pids_limit),
            ("read_only", read_only),
        )
        if value is not None
    }
    if args:
        changes["args"] = tuple(args)
    if memory is not None:
        changes["memory"] = grammar.size(memory, "memory")
    if env:
        changes["env"] = (*merged.env, *(f"{name}={value}" for name, value in env.items()))
    if mounts:
        changes["mounts"] = (*merged.mounts, *mounts)
    return merged.replace(**changes) if changes else merged


class Capture:
    """A client of a container's streams that keeps all output, up to a limit."""

    read_descriptor = write_descriptor = -1
    ends_run = True

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.exceeded = False
        self._left = limit_bytes
        self._parts: dict[str, list[bytes]] = {"stdout": [], "stderr": []}

    def deliver(self, stream: str, data: bytes) -> None:
        """Keep as much as may be; `blocked` from then on."""
        if len(data) > self._left:
            self.exceeded = True
            data = data[: self._left]
        self._left -= len(data)
        self._parts[stream].append(data)

    def refuses(self, stream: str) -> bool:
        """Never: what is beyond the limit ends the run instead."""
        return False

    def result(self, exit_code: int) -> Result:
        """Everything so far."""
        return Result(exit_code, b"".join(self._parts["stdout"]), b"".join(self._parts["stderr"]))

    def blocked(self) -> bool:
        """Whether the limit was passed."""
        return self.exceeded

    def pending(self) -> bool:
        """Never."""
        return False

    def readable(self, streams: Streams) -> None:
        """Not used."""

    def writable(self) -> None:
        """Not used."""

    def gone(self) -> bool:
        """Ends the run where the limit was passed (see `Streams.run`)."""
        return self.exceeded

    def finish(self) -> None:
        """Owns nothing."""
