"""Reading tar archives as streams: bytes in, entries out, nothing extracted.

Understands what image layers and `docker save` archives contain in the wild: v7, ustar, old GNU
(long names, sparse files, base-256 numbers) and pax (local and global headers, sub-second times,
extended attributes, sparse forms 0.0, 0.1 and 1.0). Whatever is malformed raises InvalidArgument,
an archive that ends too early DataLoss; memory use is bounded whatever the input says.
"""

from __future__ import annotations

from cloche.errors import DataLoss, InvalidArgument, ResourceExhausted
from cloche.image import tarfields, tarsparse
from cloche.image.tarentry import (
    BLOCK,
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    FILE,
    HARDLINK,
    OVERRIDES,
    SYMLINK,
    Entry,
    Limits,
    shown,
)
from cloche.image.tarfields import NANOSECONDS, checksum_matches, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

_OLD_FILE = b"\0"
_CONTIGUOUS = b"7"
_GNU_SPARSE = b"S"
_GNU_LONG_NAME = b"L"
_GNU_LONG_LINK = b"K"
_GNU_VOLUME = b"V"
_PAX = b"x"
_PAX_SOLARIS = b"X"
_PAX_GLOBAL = b"g"
_PREFACES = frozenset((_PAX, _PAX_SOLARIS, _PAX_GLOBAL, _GNU_LONG_NAME, _GNU_LONG_LINK, _GNU_VOLUME))
_FILES = frozenset((FILE, _OLD_FILE, _CONTIGUOUS, _GNU_SPARSE))
_WITHOUT_CONTENTS = frozenset((HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO))
_ZEROS = bytes(BLOCK)
_READ_BYTES = 1 << 20
_REMEMBERED_OWNERS = 4096


class Reader:
    """The entries of one archive, in order.

    read: called with a suggested number of bytes, gives any non-zero number of them, or none at
    the end. archive: what is being read, for messages.
    """

    def __init__(
        self, read: Callable[[int], bytes], *, archive: str = "tar archive", limits: Limits | None = None
    ) -> None:
        self._read = read
        self._archive = archive
        self._limits = limits or Limits()
        self._buffer = b""
        self._view = memoryview(b"")
        self._at = 0
        self._left = 0
        self._padding = 0
        self._count = 0
        self._owners: dict[bytes, tuple[int, int, int]] = {}
        self._global: dict[bytes, bytes] = {}
        self._local: dict[bytes, bytes] = {}
        self._sparse_pairs: list[bytes] = []
        self._name: bytes | None = None
        self._link: bytes | None = None

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self.next()) is not None:
            yield entry

    def next(self) -> Entry | None:
        """The next entry, or None after the last one; skips what was not read of the one before."""
        if self._left or self._padding:
            self._skip(self._left + self._padding)
            self._left = self._padding = 0
        while True:
            block = self._header()
            if block is None:
                if self._local or self._name is not None or self._link is not None:
                    raise DataLoss(f"{self._archive}: ends after an extended header")
                return None
            kind = block[156:157]
            try:
                if kind not in _PREFACES:
                    return self._entry(block, kind)
                self._preface(block, kind)
            except ValueError as error:
                self._refuse(self._raw_name(block), str(error))

    def take(self) -> memoryview:
        """Some of the current entry's stored bytes, without copying; empty when all were given."""
        left = self._left
        if not left:
            return self._view[:0]
        at = self._at
        if at >= len(self._buffer):
            if not self._refill():
                raise DataLoss(f"{self._archive}: ends in the middle of a file")
            at = 0
        piece = self._view[at : at + left]
        self._left = left - len(piece)
        self._at = at + len(piece)
        return piece

    def contents(self, limit_bytes: int) -> bytes:
        """All stored bytes of the current entry. Raises InvalidArgument when more than the limit."""
        if self._left > limit_bytes:
            raise InvalidArgument(f"{self._archive}: an entry of {self._left} bytes, limit is {limit_bytes}")
        pieces = []
        while piece := self.take():
            pieces.append(bytes(piece))
        return b"".join(pieces)

    def _refill(self) -> bool:
        """Replace the used-up buffer by the next bytes; False at the end of the stream."""
        self._buffer = data = self._read(_READ_BYTES)
        self._view = memoryview(data)
        self._at = 0
        return bool(data)

    def _block(self) -> bytes:
        """The next 512 bytes, or fewer at the end of the stream."""
        at = self._at
        block = self._buffer[at : at + BLOCK]
        self._at = at + len(block)
        while len(block) < BLOCK and self._refill():
            missing = BLOCK - len(block)
            block += self._buffer[:missing]
            self._at = min(missing, len(self._buffer))
        return block

    def _full_block(self) -> bytes:
        block = self._block()
        if len(block) < BLOCK:
            raise DataLoss(f"{self._archive}: ends in the middle of a header")
        return block

    def _skip(self, count: int) -> None:
        while count > len(self._buffer) - self._at:
            count -= len(self._buffer) - self._at
            if not self._refill():
                raise DataLoss(f"{self._archive}: ends in the middle of a file")
        self._at += count

    def _header(self) -> bytes | None:
        """The next header with a right checksum; None at the end."""
        block = self._block()
        if len(block) < BLOCK:
            if block.strip(b"\0"):
                raise DataLoss(f"{self._archive}: ends in the middle of a header")
            return None
        if block == _ZEROS:
            if self._block().strip(b"\0"):
                raise InvalidArgument(f"{self._archive}: goes on after an empty header")
            return None
        if not checksum_matches(block):
            self._refuse(self._raw_name(block), "its header has a wrong checksum")
        self._count += 1
        if self._count > self._limits.entries:
            raise ResourceExhausted(f"{self._archive}: more than {self._limits.entries} entries")
        return block

    def _raw_name(self, block: bytes) -> bytes:
        return self._name or self._local.get(b"path") or block[:100].partition(b"\0")[0]

    def _refuse(self, name: bytes, reason: str) -> NoReturn:
        raise InvalidArgument(f"{self._archive}: {shown(name)}: {reason}") from None

    def _preface(self, block: bytes, kind: bytes) -> None:
        """Take in a header that says something about the entries after it."""
        size = number(block[124:136])
        if not 0 <= size <= self._limits.header_bytes:
            raise ValueError(f"an extended header of more than {self._limits.header_bytes} bytes")
        self._begin(size)
        data = self.contents(size)
        self._skip(self._padding)
        self._padding = 0
        if kind == _GNU_LONG_NAME:
            self._name = data.partition(b"\0")[0]
        elif kind == _GNU_LONG_LINK:
            self._link = data.partition(b"\0")[0]
        elif kind == _PAX_GLOBAL:
            self._remember_global(data)
        elif kind != _GNU_VOLUME:
            self._remember_local(data)

    def _remember_global(self, data: bytes) -> None:
        for keyword, value in tarfields.pax_records(data):
            if value:
                self._global[keyword] = value
            else:
                self._global.pop(keyword, None)
        if sum(map(len, self._global.values())) > self._limits.header_bytes:
            raise ValueError("its global headers are too large")

    def _remember_local(self, data: bytes) -> None:
        self._local = {}
        self._sparse_pairs = []
        for keyword, value in tarfields.pax_records(data):
            self._local[keyword] = value
            if keyword in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
                self._sparse_pairs.append(value)

    def _entry(self, block: bytes, kind: bytes) -> Entry:
        owner = block[100:124]
        found = self._owners.get(owner)
        if found is None:
            found = self._owner(owner)
        name = block[:100].partition(b"\0")[0]
        if block[345] and block[257:263] == b"ustar\0":
            name = _prefix(block) + name
        entry = Entry(name, kind, *found)
        entry.mtime_ns = number(block[136:148]) * NANOSECONDS
        entry.size = entry.stored = number(block[124:136])
        if block[157]:
            entry.link = block[157:257].partition(b"\0")[0]
        if self._name is not None or self._link is not None:
            self._use_long_names(entry)
        if self._local or self._global:
            self._use_records(entry)
        if kind in _WITHOUT_CONTENTS:
            entry.size = entry.stored = 0
            if kind in (CHARACTER, BLOCK_DEVICE):
                entry.major, entry.minor = number(block[329:337]), number(block[337:345])
        elif kind not in _FILES:
            raise ValueError(f"an entry of unknown type {kind!r}")
        elif kind != FILE:
            self._old_kinds(entry, block)
        self._check(entry)
        self._begin(entry.stored)
        if entry.sparse is not None or b"GNU.sparse.major" in self._local:
            self._use_sparse(entry)
        if self._local:
            self._local = {}
        return entry

    def _owner(self, fields: bytes) -> tuple[int, int, int]:
        """Mode, user and group: the same few in most archives, so parsed once."""
        found = (number(fields[:8]) & 0o7777, number(fields[8:16]), number(fields[16:24]))
        if len(self._owners) >= _REMEMBERED_OWNERS:
            self._owners.clear()
        self._owners[fields] = found
        return found

    def _use_long_names(self, entry: Entry) -> None:
        if self._name is not None:
            entry.name, self._name = self._name, None
        if self._link is not None:
            entry.link, self._link = self._link, None

    def _use_records(self, entry: Entry) -> None:
        """Let the extended headers override the header's own fields (pax: local over global)."""
        records = {**self._global, **self._local} if self._global else self._local
        for keyword, value in records.items():
            if value and (use := OVERRIDES.get(keyword)) is not None:
                use(entry, value)
        entry.xattrs = tarfields.extended_attributes(records) or None
        if name := records.get(b"GNU.sparse.name"):
            entry.name = name
        if b"GNU.sparse.map" in records or self._sparse_pairs:
            entry.sparse = tarsparse.from_records(records, self._sparse_pairs)
            self._sparse_pairs = []

    def _old_kinds(self, entry: Entry, block: bytes) -> None:
        """Older letters for regular files, and what each of them means besides."""
        if entry.kind == _OLD_FILE and entry.name.endswith(b"/"):
            entry.kind = DIRECTORY
            entry.size = entry.stored = 0
            return
        if entry.kind == _GNU_SPARSE:
            entry.sparse, entry.size = tarsparse.old_gnu(block, self._full_block)
        entry.kind = FILE

    def _use_sparse(self, entry: Entry) -> None:
        """Settle the sparse map: read form 1.0's own, then check it against size and stored bytes."""
        records = self._local
        real = records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size")
        if real:
            entry.size = tarfields.decimal(real)
        if entry.sparse is None:
            entry.sparse, taken = tarsparse.from_contents(self._sparse_block)
            entry.stored -= taken
        entry.sparse = tarsparse.checked(entry.sparse, entry.size, entry.stored)

    def _sparse_block(self) -> bytes:
        """A block of form 1.0's map, which is part of the entry's stored bytes."""
        if self._left < BLOCK:
            raise ValueError("its sparse map is longer than its contents")
        self._left -= BLOCK
        return self._full_block()

    def _check(self, entry: Entry) -> None:
        limit = self._limits.name_bytes
        if len(entry.name) > limit or len(entry.link) > limit:
            raise ValueError(f"a name or link of more than {limit} bytes")
        if b"\0" in entry.name or b"\0" in entry.link:
            raise ValueError("a name or link with a NUL byte")
        if entry.stored < 0 or entry.size < 0:
            raise ValueError("a negative size")
        if not (0 <= entry.uid < 0xFFFFFFFF and 0 <= entry.gid < 0xFFFFFFFF):
            raise ValueError("a user or group id that does not fit 32 bits")
        if not (0 <= entry.major < 1 << 32 and 0 <= entry.minor < 1 << 32):
            raise ValueError("device numbers out of range")

    def _begin(self, stored: int) -> None:
        """What follows is `stored` bytes of contents and the padding of their last block."""
        self._left = stored
        self._padding = -stored % BLOCK


def _prefix(block: bytes) -> bytes:
    """The leading directories of a ustar name; star keeps times in the last 24 of those bytes."""
    end = 476 if block[508:512] == b"tar\0" else 500
    return block[345:end].partition(b"\0")[0] + b"/"
