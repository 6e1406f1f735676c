"""`crictl logs`: a container's log, in CRI's format, read from its file."""

from __future__ import annotations

import os
import time

from cloche.cli import moments
from cloche.cli.arguments import UsageError
from cloche.cli.crictl.command import CrictlCommand
from cloche.cli.output import warn, write_bytes
from cloche.errors import ClocheError, InvalidArgument, NotFound
from cloche.shim import timestamps
from cloche.spec.record import Record
from cloche.wire.messages.cri import containers, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from cloche.cli.arguments import Parsed
    from cloche.cli.crictl.client import Client

_BLOCK = 1 << 16
_POLL_S = 0.1
_STREAMS = {b"stdout": 1, b"stderr": 2}


class Line(Record):
    """One line of a log. stream: the descriptor it goes to; text: with its line break where it is whole."""

    moment: bytes
    stream: int
    text: bytes


def parse(raw: bytes) -> Line:
    """A line of CRI's format, `TIME STREAM TAGS TEXT`. Raises InvalidArgument."""
    parts = raw.rstrip(b"\n").split(b" ", 3)
    if len(parts) < 3 or parts[1] not in _STREAMS:
        raise InvalidArgument("a line of the log is not in CRI's format")
    whole = parts[2].split(b":")[0] != b"P"
    text = parts[3] if len(parts) == 4 else b""
    return Line(parts[0], _STREAMS[parts[1]], text + b"\n" if whole else text)


def _logs(client: Client, flags: Parsed) -> None:
    identity = flags.arguments[0]
    stream = flags.text("stream") or ""
    if stream not in ("", "stdout", "stderr"):
        raise UsageError(f"--stream: {stream!r} is neither stdout nor stderr")
    if stream and flags.number("tail") is not None:
        raise UsageError("--tail and --stream exclude each other")
    if flags.on("reopen"):
        client.runtime("ReopenContainerLog", containers.ReopenContainerLogRequest(container_id=identity))
    state = client.runtime("ContainerStatus", status.ContainerStatusRequest(container_id=identity)).status
    if not state.log_path:
        raise NotFound(f"container {identity} has no log: neither it nor its pod was given a path for one")
    path = _previous(state) if flags.on("previous") else state.log_path

    def running() -> bool:
        request = status.ContainerStatusRequest(container_id=state.id)
        try:
            now: int = client.runtime("ContainerStatus", request).status.state
        except NotFound:
            return False
        return now == containers.RUNNING

    with _Reader(path) as reader:
        reader.skip_to_last(flags.number("tail"))
        _Printer(flags, stream).print(reader.lines(running if flags.on("follow") else None))


def _previous(state: status.ContainerStatus) -> str:
    attempt = state.metadata.attempt if state.metadata else 0
    if not attempt:
        name = state.metadata.name if state.metadata else state.id
        raise NotFound(f"container {name} is the first of its name: there is no previous one")
    folder, _, name = state.log_path.rpartition("/")
    return f"{folder}/{attempt - 1}.{name.rpartition('.')[2]}"


class _Reader:
    """The lines of a file that may grow, and be renamed while another is begun."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = self._opened()
        self._rest = b""

    def _opened(self) -> BinaryIO:
        try:
            return open(self._path, "rb", buffering=0)
        except FileNotFoundError:
            raise NotFound(f"there is no log at {self._path}") from None

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def skip_to_last(self, count: int | None) -> None:
        """Go to where the last so many lines begin; None and negative mean all."""
        if count is None or count < 0:
            return
        position = self._file.seek(0, os.SEEK_END)
        seen = 0
        while position > 0:
            size = min(_BLOCK, position)
            position -= size
            block = os.pread(self._file.fileno(), size, position)
            # The break at the end of the file ends the last line and begins none.
            at = len(block) - 1 if not seen and block.endswith(b"\n") else len(block)
            while (at := block.rfind(b"\n", 0, at)) >= 0:
                seen += 1
                if seen == count:
                    self._file.seek(position + at + 1)
                    return
            if count == 0:
                return
        self._file.seek(0)

    def lines(self, running: Callable[[], bool] | None) -> Iterator[bytes]:
        """Every line. running: whether more may come; None where nobody waits for it."""
        over = running is None
        while True:
            data = self._file.read(_BLOCK)
            if data:
                *whole, self._rest = (self._rest + data).split(b"\n")
                yield from whole
            elif self._renamed():
                continue
            elif over:
                break
            else:
                time.sleep(_POLL_S)
                over = running is not None and not running()
        if self._rest:
            yield self._rest

    def _renamed(self) -> bool:
        try:
            now = os.stat(self._path)
        except FileNotFoundError:
            return False
        if os.path.samestat(now, os.fstat(self._file.fileno())):
            return False
        self._file.close()
        self._file = self._opened()
        return True


class _Printer:
    """Writes what the flags leave of a log."""

    def __init__(self, flags: Parsed, stream: str) -> None:
        since = flags.text("since")
        self._since_ns = moments.parse(since) if since else 0
        self._timestamps = flags.on("timestamps")
        self._stream = {"": 0, "stdout": 1, "stderr": 2}[stream]
        limit = flags.number("limit-bytes")
        self._left = limit if limit is not None and limit >= 0 else None

    def print(self, raw_lines: Iterator[bytes]) -> None:
        for raw in raw_lines:
            try:
                each = parse(raw)
                early = self._since_ns and timestamps.parse(each.moment.decode()) < self._since_ns
            except (ClocheError, ValueError):
                warn("a line of the log is not in CRI's format")
                continue
            if early or self._stream not in (0, each.stream):
                continue
            text = _at_full_length(each.moment) + b" " + each.text if self._timestamps else each.text
            if self._left is not None:
                text = text[: self._left]
                self._left -= len(text)
            write_bytes(text, each.stream)
            if self._left == 0:
                return


def _at_full_length(moment: bytes) -> bytes:
    """With all nine digits behind the point, so that times stand below one another."""
    whole, point, rest = moment.partition(b".")
    digits = len(rest) - len(rest.lstrip(b"0123456789"))
    return whole + point + rest[:digits].ljust(9, b"0") + rest[digits:] if point else moment


LOGS = CrictlCommand(
    "[OPTIONS] CONTAINER-ID",
    _logs,
    groups=(
        (
            "Options",
            (
                ("follow", "f", "bool", "Also what is still to come"),
                ("limit-bytes", "", "int", "At most so many bytes"),
                ("previous", "p", "bool", "Of the container that this one replaced"),
                ("reopen", "r", "bool", "Have the file begun anew first"),
                ("since", "", "string", "Since a time, such as 2026-01-02T15:04:05Z or 42m"),
                ("stream", "s", "string", "Only stdout or stderr"),
                ("tail", "", "int", "The last so many lines"),
                ("timestamps", "t", "bool", "With the time of each line"),
            ),
        ),
    ),
    minimum=1,
    maximum=1,
)
