"""Decompressing layers and archives as streams, whatever they are compressed with.

The format is told by the first bytes, as containerd and Docker do: media types lie. gzip goes through
isal (several times zlib's speed) where it is installed; a gzip file may have many members, as
eStargz layers do.
"""

from __future__ import annotations

from importlib import import_module

from cloche.errors import DataLoss, InvalidArgument, Unimplemented

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Source(Protocol):
        """Bytes to be read: read(n) gives at most n of them, and none only at the end."""

        def read(self, size: int, /) -> bytes: ...


_LONGEST_MAGIC = 6
_DECOMPRESSORS = ("zlib", "gzip", "isal", "igzip_lib", "isal_zlib", "zstd", "zstandard", "_lzma")
# RFC 8878 asks decoders for 8 MiB of window; zstd's own tool accepts 128 MiB, and so do we.
_ZSTD_WINDOW_LIMIT = 1 << 27
_ZSTD_INPUT = 1 << 17
_XZ_INPUT = 1 << 16
_XZ_MEMORY_LIMIT = 1 << 28
_ZSTD_TAIL = 3 << 17
_SKIPPABLE_FRAMES = tuple(bytes((0x50 + low, 0x2A, 0x4D, 0x18)) for low in range(16))


def kind(head: bytes) -> str:
    """What the first six bytes of a stream say: gzip, zstd, bzip2, xz or plain."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith((b"\x28\xb5\x2f\xfd", *_SKIPPABLE_FRAMES)):
        return "zstd"
    if head.startswith(b"BZh"):
        return "bzip2"
    if head.startswith(b"\xfd7zXZ\0"):
        return "xz"
    return "plain"


class Counted:
    """A source that knows how many bytes were read from it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.count = 0

    def read(self, size: int = 1 << 20, /) -> bytes:
        """At most `size` bytes; none only at the end."""
        data = self._source.read(size)
        self.count += len(data)
        return data


class _Replayed:
    """A source whose first bytes were looked at already."""

    def __init__(self, head: bytes, source: Source) -> None:
        self._head = head
        self._source = source

    def read(self, size: int = 1 << 20, /) -> bytes:
        if not self._head:
            return self._source.read(size)
        data, self._head = self._head[:size], self._head[size:]
        return data

    def readinto(self, buffer: memoryview, /) -> int:
        """As read, into the caller's buffer: isal reads so."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class Decompressed:
    """The plain bytes of a stream. Damaged data raises DataLoss, and so does an early end."""

    def __init__(self, reader: Any, name: str, kind: str) -> None:
        self._read = reader.read if kind == "plain" else getattr(reader, "read1", reader.read)
        self._name = name
        self.kind = kind

    def read(self, size: int = 1 << 18, /) -> bytes:
        """At most `size` bytes; none only at the end."""
        try:
            data: bytes = self._read(size)
        except EOFError:
            raise DataLoss(f"{self._name}: the {self.kind} data ends too early") from None
        except Exception as error:
            if not self._is_damage(error):
                raise
            raise DataLoss(f"{self._name}: the {self.kind} data is damaged: {_one_line(error)}") from None
        return data

    def _is_damage(self, error: Exception) -> bool:
        """Whether a decompressor, not the source beneath it, raised this.

        Their error classes have no common base: zlib.error, isal's, zstd's, LZMAError, BadGzipFile
        and bzip2's (both OSErrors without a number).
        """
        if isinstance(error, OSError):
            return error.errno is None and (self.kind == "bzip2" or type(error).__name__ == "BadGzipFile")
        return type(error).__module__.partition(".")[0] in _DECOMPRESSORS or type(error) is ValueError


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def opened(source: Source, *, name: str, only: tuple[str, ...] = ()) -> Decompressed:
    """The plain bytes of `source`, decompressed as its first bytes ask for.

    name: what is read, for messages. only: kinds to accept (all when empty).
    Raises InvalidArgument for others, Unimplemented where the library for one is missing.
    """
    head = b""
    while len(head) < _LONGEST_MAGIC and (more := source.read(_LONGEST_MAGIC - len(head))):
        head += more
    found = kind(head)
    if only and found not in only:
        raise InvalidArgument(f"{name}: compressed with {found}, which is not accepted here")
    return Decompressed(_OPENERS[found](_Replayed(head, source), name), name, found)


def _plain(source: Source, name: str) -> Any:
    return source


def _gzip(source: Source, name: str) -> Any:
    try:
        return import_module("isal.igzip").IGzipFile(fileobj=source, mode="rb")
    except ImportError:
        return import_module("gzip").GzipFile(fileobj=source, mode="rb")


def _zstd(source: Source, name: str) -> Any:
    try:
        decompressor = import_module("zstandard").ZstdDecompressor(max_window_size=_ZSTD_WINDOW_LIMIT)
    except ImportError:
        return _standard_zstd(source, name)
    return decompressor.stream_reader(_Terminated(source), read_size=_ZSTD_INPUT, read_across_frames=True)


class _Terminated:
    """A zstd stream followed by a skippable frame of our own, full of 0xFF.

    zstandard's reader takes the end of its input in the middle of a frame for the end of the data.
    After a whole frame ours is skipped; a cut one runs into it and fails, as 0xFFFFFF is no valid
    block header. It is longer than three of the largest blocks, so a header must be met.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._frame: bytes | None = None

    def read(self, size: int = _ZSTD_INPUT, /) -> bytes:
        if self._frame is None:
            if data := self._source.read(size):
                return data
            self._frame = _SKIPPABLE_FRAMES[0] + _ZSTD_TAIL.to_bytes(4, "little") + b"\xff" * _ZSTD_TAIL
        data, self._frame = self._frame[:size], self._frame[size:]
        return data


def _standard_zstd(source: Source, name: str) -> Any:
    try:
        return import_module("compression.zstd").ZstdFile(source)
    except ImportError:
        raise Unimplemented(f"{name}: compressed with zstd: install the Python package zstandard") from None


def _bzip2(source: Source, name: str) -> Any:
    return import_module("bz2").BZ2File(source)


def _xz(source: Source, name: str) -> Any:
    return _Xz(source)


class _Xz:
    """xz with a bound on the memory that a file may ask for, which LZMAFile does not have."""

    def __init__(self, source: Source) -> None:
        self._lzma = import_module("lzma")
        self._source = source
        self._decompressor: Any = None
        self._input = b""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none only at the end of the last of the streams in a row."""
        while True:
            if self._decompressor is None or self._decompressor.eof:
                rest = self._decompressor.unused_data if self._decompressor else b""
                self._input = rest or self._source.read(_XZ_INPUT)
                if not self._input.strip(b"\0"):
                    return b""
                self._decompressor = self._lzma.LZMADecompressor(memlimit=_XZ_MEMORY_LIMIT)
            elif self._decompressor.needs_input and not self._input:
                self._input = self._source.read(_XZ_INPUT)
                if not self._input:
                    raise EOFError
            data: bytes = self._decompressor.decompress(self._input, size)
            self._input = b""
            if data:
                return data


_OPENERS = {"plain": _plain, "gzip": _gzip, "zstd": _zstd, "bzip2": _bzip2, "xz": _xz}
