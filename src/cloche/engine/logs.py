"""Reading what a container has written: its log in Docker's json-file format, and what is still to come."""

from __future__ import annotations

import os

from cloche.errors import ClocheError, Unavailable
from cloche.shim import frames, timestamps
from cloche.shim.attachment import connect
from cloche.spec.document import loads
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 1 << 16


class Line(Record):
    """One line as it was written, with its newline unless it was cut. stream: stdout or stderr.

    time: RFC 3339 with nanoseconds.
    """

    stream: str
    time: str
    data: bytes


def read(
    path: str,
    *,
    tail: int | None = None,
    since_ns: int | None = None,
    until_ns: int | None = None,
    run_directory: str = "",
) -> Iterator[Line]:
    """The lines of a log file, oldest first; a missing file has none.

    tail: only the last so many of what is there now. run_directory: follow the container whose
    parent this is until it ends.
    """
    news = _News(run_directory) if run_directory else None
    try:
        for line in _follow(path, tail, news):
            if since_ns is not None or until_ns is not None:
                moment = timestamps.parse(line.time)
                if until_ns is not None and moment > until_ns:
                    return
                if since_ns is not None and moment < since_ns:
                    continue
            yield line
    finally:
        if news is not None:
            news.close()


def _follow(path: str, tail: int | None, news: _News | None) -> Iterator[Line]:
    descriptor, rest = -1, b""
    try:
        while True:
            more = news is not None and news.more
            if descriptor < 0:
                descriptor = _open(path)
                if descriptor >= 0 and tail is not None:
                    os.lseek(descriptor, _tail_start(descriptor, tail), os.SEEK_SET)
            while descriptor >= 0 and (data := os.read(descriptor, _BLOCK)):
                *lines, rest = (rest + data).split(b"\n")
                for text in lines:
                    line = parse(text)
                    if line is not None:
                        yield line
            if not more or news is None:
                return
            news.wait()
            tail = None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1


def parse(text: bytes) -> Line | None:
    """One line of the file; None for what a crash has torn."""
    try:
        entry = loads(text, "log")
        data = entry["log"].encode("utf-8", "surrogateescape")
        return Line(str(entry["stream"]), str(entry["time"]), data)
    except (ClocheError, KeyError, TypeError, AttributeError, UnicodeEncodeError):
        return None


def _tail_start(descriptor: int, count: int) -> int:
    """Where the last `count` lines begin, found from the end."""
    position = os.lseek(descriptor, 0, os.SEEK_END)
    if count <= 0:
        return position
    wanted = count + 1
    while position > 0:
        size = min(_BLOCK, position)
        position -= size
        block = os.pread(descriptor, size, position)
        newlines = block.count(b"\n")
        if newlines >= wanted:
            at = len(block)
            for _ in range(wanted):
                at = block.rindex(b"\n", 0, at)
            return position + at + 1
        wanted -= newlines
    return 0


class _News:
    """Word from a container's parent that there is more in the log, or that it is over."""

    def __init__(self, run_directory: str) -> None:
        self._run_directory = run_directory
        self._connect()

    def _connect(self) -> None:
        try:
            self._connection = connect(self._run_directory)
            self._connection.sendall(frames.encode(frames.HELLO, bytes((frames.WANTS_NEWS,))))
            self.more = True
        except (Unavailable, OSError):
            self.more = False
        self._decoder = frames.Decoder()

    def wait(self) -> None:
        """Return when there may be more; `more` is false when it was the last time."""
        try:
            data = self._connection.recv(_BLOCK)
            over = any(kind == frames.EXIT for kind, _ in self._decoder.feed(data))
        except (OSError, ValueError):
            data, over = b"", False
        if over:
            self.more = False
        elif not data:
            # Without a word of the end it was killed: another parent may be in its place.
            self.close()
            self._connect()

    def close(self) -> None:
        """Hang up."""
        if hasattr(self, "_connection"):
            self._connection.close()
