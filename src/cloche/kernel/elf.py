"""What an executable or shared library says it needs, read from its ELF headers.

Only bytes are read; nothing is executed (ldd runs the program's own interpreter, which may be
anything). Reads are bounded, and a damaged file is simply not an ELF file that needs something.
"""

from __future__ import annotations

import os
from _struct import error as struct_error  # type: ignore[attr-defined]  # missing in the stubs
from _struct import unpack_from

from cloche.spec.record import Record

_MAGIC = b"\x7fELF"
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_RPATH, _DT_RUNPATH = 0, 1, 5, 10, 15, 29
_TABLE_LIMIT_BYTES = 1 << 20
_STRINGS_LIMIT_BYTES = 16 << 20
_HEADER_BYTES = 4096


class Elf(Record):
    """The part of an ELF file that decides which others it loads.

    kind: (class, byte order, machine); only files of one kind can be loaded together.
    interpreter: its loader's path, empty for libraries and static programs.
    needed: names of libraries; rpath, runpath: colon-separated directories, not expanded.
    """

    kind: tuple[int, int, int]
    interpreter: bytes = b""
    needed: tuple[bytes, ...] = ()
    rpath: bytes = b""
    runpath: bytes = b""


def read(fd: int) -> Elf | None:
    """Read an open file; None when it is not an ELF file."""
    head = os.pread(fd, _HEADER_BYTES, 0)
    if head[:4] != _MAGIC or len(head) < 52:
        return None
    try:
        return _Reader(fd, head).elf()
    except (struct_error, IndexError, ValueError, OSError):
        return None


class _Reader:
    """One file's tables, in its own word size and byte order."""

    def __init__(self, fd: int, head: bytes) -> None:
        self._fd = fd
        self._head = head
        self._wide = head[4] == 2
        self._order = "<" if head[5] == 1 else ">"
        machine = self._unpack("H", head, 18)[0]
        self._kind = (head[4], head[5], machine)
        self._segments = list(self._program_headers())

    def _unpack(self, layout: str, data: bytes, at: int) -> tuple[int, ...]:
        return unpack_from(self._order + layout, data, at)

    def _at(self, offset: int, size: int) -> bytes:
        if size > _STRINGS_LIMIT_BYTES or offset + size >= 1 << 63:
            raise ValueError("a table lies beyond any file")
        if offset + size <= len(self._head):
            return self._head[offset : offset + size]
        return os.pread(self._fd, size, offset)

    def _program_headers(self) -> list[tuple[int, int, int, int]]:
        """(type, file offset, address, size in the file) of every segment."""
        offset = self._unpack("Q", self._head, 32)[0] if self._wide else self._unpack("I", self._head, 28)[0]
        size, count = self._unpack("HH", self._head, 54 if self._wide else 42)
        data = self._at(offset, size * count)
        found = []
        for at in range(0, size * count, size or 1):
            if self._wide:
                kind, _, where, address, _, length = self._unpack("IIQQQQ", data, at)
            else:
                kind, where, address, _, length = self._unpack("IIIII", data, at)
            found.append((kind, where, address, length))
        return found

    def elf(self) -> Elf:
        interpreter = b""
        dynamic: list[tuple[int, int]] = []
        for kind, offset, _, size in self._segments:
            if kind == _PT_INTERP:
                interpreter = self._at(offset, min(size, _HEADER_BYTES)).partition(b"\0")[0]
            elif kind == _PT_DYNAMIC:
                dynamic = self._dynamic(self._at(offset, min(size, _TABLE_LIMIT_BYTES)))
        values = dict(dynamic)
        strings = self._strings(values)
        return Elf(
            self._kind,
            interpreter,
            tuple(_string(strings, value) for tag, value in dynamic if tag == _DT_NEEDED),
            _string(strings, values[_DT_RPATH]) if _DT_RPATH in values else b"",
            _string(strings, values[_DT_RUNPATH]) if _DT_RUNPATH in values else b"",
        )

    def _dynamic(self, data: bytes) -> list[tuple[int, int]]:
        """The (tag, value) pairs of the dynamic section up to its end."""
        layout, step = ("QQ", 16) if self._wide else ("II", 8)
        found = []
        for at in range(0, len(data) - step + 1, step):
            tag, value = self._unpack(layout, data, at)
            if tag == _DT_NULL:
                break
            found.append((tag, value))
        return found

    def _strings(self, values: dict[int, int]) -> bytes:
        """The dynamic string table, found by the segment that holds its address."""
        address = values.get(_DT_STRTAB, 0)
        size = min(values.get(_DT_STRSZ, 0), _STRINGS_LIMIT_BYTES)
        for kind, offset, start, length in self._segments:
            if kind == _PT_LOAD and start <= address < start + length:
                return self._at(offset + address - start, size)
        return b""


def _string(strings: bytes, at: int) -> bytes:
    end = strings.index(b"\0", at)
    return strings[at:end]
