"""A log file that rotates: log, log.1, log.2 … from the newest to the oldest."""

from __future__ import annotations

import errno
import os

from cloche.errors import InvalidArgument
from cloche.shim import timestamps
from cloche.shim.stdio import entries
from cloche.shim.stdio.sinks import unusable
from cloche.shim.stdio.uris import CRI, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.shim.lanes import Lane
    from cloche.shim.stdio.entries import Encode

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
# JSON may need six bytes for one.
_LONGEST_ENTRY = 6 * entries.LONGEST + 256
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


class LogFile:
    """What a process says, in entries of one format. Writing raises nothing.

    What a full disk does not take is lost, whole entries at a time; it costs the process nothing.
    lane: where to write, when writing may hang; to be set.
    """

    def __init__(self, path: str, encode: Encode, *, size_limit: int = 0, files: int = 1) -> None:
        """Open or make it, with its parents, mode 0640. size_limit: in bytes, 0 for none; what would
        go beyond begins a new file. files: how many there are at most, this one counted.

        Raises PermissionDenied or FailedPrecondition where it can never be written.
        """
        self.lane: Lane | None = None
        self._path = path
        self._encode = encode
        self._size_limit = size_limit
        self._files = files
        self._descriptor = -1
        try:
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            self._open()
        except OSError as error:
            if error.errno not in _FULL:
                raise unusable(path, error) from None

    def _open(self, flags: int = 0) -> None:
        flags |= os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        self._descriptor = os.open(self._path, flags, 0o640)

    def may_hang(self) -> bool:
        """Whether writing waits for a server."""
        from cloche.shim.stdio.beside import may_hang

        return self._descriptor >= 0 and may_hang(self._descriptor)

    def write(self, stream: str, data: bytes) -> int:
        """Append the entries that are in data; returns how much of it they are. stream: its name."""
        found, taken = entries.cut(data)
        if found:
            self._append(stream, found)
        return taken

    def write_rest(self, stream: str, data: bytes) -> None:
        """Append the beginning of a line that may never end."""
        self._append(stream, [(data, False)])

    def _append(self, stream: str, found: list[tuple[bytes, bool]]) -> None:
        moment = timestamps.now()
        records = [self._encode(stream, text, whole, moment) for text, whole in found]
        try:
            if self._size_limit:
                self._append_within_limit(records)
            else:
                self._store(b"".join(records))
        except OSError:
            # A disk that takes no more, or a directory that is gone.
            pass

    def _append_within_limit(self, records: list[bytes]) -> None:
        batch: list[bytes] = []
        # Not remembered: others may have cut the file short.
        size = self._size()
        for record in records:
            if size + len(record) > self._size_limit and size:
                self._store(b"".join(batch))
                self._rotate()
                batch, size = [], 0
            batch.append(record)
            size += len(record)
        self._store(b"".join(batch))

    def _size(self) -> int:
        return os.fstat(self._descriptor).st_size if self._descriptor >= 0 else 0

    def _store(self, data: bytes) -> None:
        if self._descriptor < 0:
            self._open()
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:] if written else data)
        except OSError:
            # Half an entry would make the next one unreadable; each ends with its only newline.
            half = written - (data.rfind(b"\n", 0, written) + 1)
            os.ftruncate(self._descriptor, max(0, os.fstat(self._descriptor).st_size - half))
            raise

    def _rotate(self) -> None:
        self.close()
        if self._files == 1:
            self._open(os.O_TRUNC)
            return
        for number in range(self._files - 1, 0, -1):
            older, newer = f"{self._path}.{number}", f"{self._path}.{number - 1}"
            try:
                os.rename(newer if number > 1 else self._path, older)
            except FileNotFoundError:
                continue
        self._open()

    def mend(self) -> None:
        """Cut off the beginning of an entry with which the file ends: who wrote it was killed.

        kill -9 ends even a write(2) that is half done. Raises nothing.
        """
        try:
            with open(self._path, "r+b", opener=_openable) as file:
                length = os.fstat(file.fileno()).st_size
                start = max(0, length - _LONGEST_ENTRY)
                file.seek(start)
                tail = file.read()
                whole = tail.rfind(b"\n") + 1
                if whole < len(tail) and (whole or not start):
                    file.truncate(start + whole)
        except OSError:
            # No regular file, or none that can be read.
            pass

    def reopen(self) -> None:
        """Go on in the file that has the path now: the old one was renamed by somebody.

        Raises FailedPrecondition where it cannot be opened; then the old one stays.
        """
        old = self._descriptor
        try:
            self._open()
        except OSError as error:
            raise unusable(self._path, error) from None
        if old >= 0:
            os.close(old)

    def close(self) -> None:
        """Close it; writing opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _openable(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def open_log(target: Target) -> LogFile:
    """The log of a json-file:// or cri:// URI.

    Options: max-size (bytes, or with k, m, g; -1 for no limit) and max-file, as Docker's. Raises
    InvalidArgument for others, and what LogFile raises.
    """
    size_limit, files = 0, 1
    for key, value in target.options:
        if key == "max-size":
            size_limit = _size(target, value)
        elif key == "max-file":
            if not value.isdecimal() or not 1 <= int(value) <= 1000:
                raise InvalidArgument(f"{target.scheme}://: max-file is a number from 1 to 1000: {value!r}")
            files = int(value)
        else:
            raise InvalidArgument(
                f"{target.scheme}://: unknown option {key!r}; there are max-size and max-file"
            )
    encode = entries.cri if target.scheme == CRI else entries.json_file
    return LogFile(target.path, encode, size_limit=size_limit, files=files)


def _size(target: Target, text: str) -> int:
    if text == "-1":
        return 0
    digits = text.rstrip("bBkKmMgGtT")
    unit = text[len(digits) :].lower()
    factor = _UNITS.get(unit[:1]) if unit in _UNITS or unit[1:] == "b" else None
    if not digits.isdecimal() or not digits.isascii() or factor is None or not int(digits):
        raise InvalidArgument(f"{target.scheme}://: max-size is a size like 10m, or -1: {text!r}")
    return int(digits) * factor
