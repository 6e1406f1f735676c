"""A container's log in Docker's json-file format: one JSON object a line.

`{"log":"text\\n","stream":"stdout","time":"…"}`. Text that is not UTF-8 is kept as lone surrogate
escapes, which this package's reader turns back into the same bytes (Docker's replaces them).
"""

from __future__ import annotations

import _json
import os

from cloche.shim import timestamps

_ESCAPE = _json.encode_basestring_ascii
# A program that never ends its line must not fill the memory: Docker cuts at the same length.
_LONGEST = 16 << 10


def encode(stream: str, text: bytes, moment: str) -> str:
    """One entry. text: with the end of its line, where it has one; moment: RFC 3339."""
    return (
        f'{{"log":{_ESCAPE(text.decode("utf-8", "surrogateescape"))},'
        f'"stream":"{stream}","time":"{moment}"}}\n'
    )


class LogWriter:
    """Appends to a log file, which is made (mode 0640) when there is something to write.

    A line that is not ended is held back until it is, or until `flush`.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1
        self._open: dict[str, bytes] = {}

    def write(self, stream: str, data: bytes) -> None:
        """Take output of "stdout" or "stderr". Raises OSError when the disk refuses it."""
        lines = (self._open.pop(stream, b"") + data).split(b"\n")
        rest = lines.pop()
        entries = [line + b"\n" for line in lines]
        while len(rest) >= _LONGEST:
            entries.append(rest[:_LONGEST])
            rest = rest[_LONGEST:]
        if rest:
            self._open[stream] = rest
        if entries:
            self._append(stream, entries)

    def flush(self) -> None:
        """Write lines that were not ended."""
        for stream, rest in self._open.items():
            self._append(stream, [rest])
        self._open.clear()

    def close(self) -> None:
        """Flush, and close the file."""
        self.flush()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _append(self, stream: str, entries: list[bytes]) -> None:
        if self._descriptor < 0:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._path, flags, 0o640)
        moment = timestamps.now()
        data = "".join(encode(stream, entry, moment) for entry in entries).encode("ascii")
        while data:
            data = data[os.write(self._descriptor, data) :]
