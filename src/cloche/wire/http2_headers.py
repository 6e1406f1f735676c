"""Header blocks of HTTP/2: read with `hpack` and checked, written without any state.

What is written uses no dynamic table: the few headers of a gRPC answer are constants then, which
costs some bytes on a local socket and saves most of the work. What is read is remembered as long
as the peer's table does not change, since a client's calls of one method have the same block.
"""

from __future__ import annotations

from hpack import HPACKError, OversizedHeaderListError

from cloche.wire.http2_fields import FieldReader
from cloche.wire.http2_frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Fields = Iterable[tuple[bytes, bytes]]

LIST_LIMIT = 8 << 10
"""Header lists above this are to be refused (RFC 9113 counts 32 bytes more a field)."""
HARD_LIMIT = 64 << 10
"""Above this reading stops, and the connection with it, since the table is in disorder then."""

TABLE_OF_SIZE_0 = b"\x20"
"""First byte of the first block on a connection: we never use the table, however small it becomes."""

_REMEMBERED_BLOCKS = 128
_REMEMBERED_BYTES = 1 << 10
_FIELD_OVERHEAD = 32
_REQUEST = frozenset((b":method", b":scheme", b":path"))
_PSEUDO = frozenset((*_REQUEST, b":authority", b":status"))
_OF_THE_CONNECTION = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
_COLON = ord(":")

_WHOLE = {
    (b":status", b"200"): b"\x88",
    (b":method", b"POST"): b"\x83",
    (b":scheme", b"http"): b"\x86",
    (b":scheme", b"https"): b"\x87",
}
_NAMES = {
    b":authority": b"\x01",
    b":path": b"\x04",
    b":status": b"\x08",
    b"content-type": b"\x0f\x10",
    b"user-agent": b"\x0f\x2b",
}


class Head:
    """A checked header list.

    pseudo: those that begin with a colon. fields: the others, in order. content_length: -1 where
    absent. size: as the limit counts. fault: why the list is malformed; "" where it is not.
    memo: for whoever reads it, to keep what was made of it: a head may be met again.
    """

    __slots__ = ("content_length", "fault", "fields", "memo", "pseudo", "size")

    def __init__(self, pairs: Fields) -> None:
        self.pseudo: dict[bytes, bytes] = {}
        self.fields: list[tuple[bytes, bytes]] = []
        self.content_length = -1
        self.size = 0
        self.fault = ""
        self.memo: object = None
        for name, value in pairs:
            self.size += len(name) + len(value) + _FIELD_OVERHEAD
            if name[:1] == b":":
                self._take_pseudo(name, value)
            else:
                self._take(name, value)

    def _take_pseudo(self, name: bytes, value: bytes) -> None:
        if name not in _PSEUDO:
            self.fault = f"unknown field {name[:40]!r}"
        elif name in self.pseudo:
            self.fault = f"{name.decode()} is there twice"
        elif self.fields:
            self.fault = f"{name.decode()} after other fields"
        self.pseudo[name] = value

    def _take(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))
        if not name or name != name.lower():
            self.fault = f"field name {name[:40]!r} is not in lower case"
        elif name in _OF_THE_CONNECTION or (name == b"te" and value != b"trailers"):
            self.fault = f"field {name.decode()} is not for HTTP/2"
        elif name == b"content-length":
            if not (value.isdigit() and len(value) < 19) or self.content_length not in (-1, int(value)):
                self.fault = "content-length is no number"
            else:
                self.content_length = int(value)
        elif b"\0" in value or b"\n" in value or b"\r" in value:
            self.fault = f"field {name[:40]!r} has a line break"

    def request_fault(self) -> str:
        """Why this is no request; "" where it is one."""
        if self.fault:
            return self.fault
        if not self.pseudo.keys() >= _REQUEST or b":status" in self.pseudo or not self.pseudo[b":path"]:
            return "not the fields of a request"
        return ""

    def response_fault(self) -> str:
        """Why this is no response; "" where it is one."""
        if self.fault:
            return self.fault
        status = self.pseudo.get(b":status", b"")
        return "" if len(self.pseudo) == 1 and len(status) == 3 and status.isdigit() else "no status"

    def trailer_fault(self) -> str:
        """Why these are no trailers; "" where they are."""
        return self.fault or ("trailers with fields of a head" if self.pseudo else "")


class Reader:
    """Reads the header blocks of one connection, all of them and in their order."""

    def __init__(self) -> None:
        self._decoder = FieldReader(HARD_LIMIT)
        self._remembered: dict[bytes, Head] = {}

    def read(self, block: bytes) -> Head:
        """The header list of a whole block. Raises ConnectionFailure where it cannot be read."""
        known = self._remembered.get(block)
        if known is not None:
            return known
        entries = self._decoder.table.dynamic_entries
        newest = entries[0] if entries else None
        try:
            head = Head(self._decoder.read(block))
        except HPACKError as error:
            code = ENHANCE_YOUR_CALM if isinstance(error, OversizedHeaderListError) else COMPRESSION_ERROR
            raise ConnectionFailure(code, f"header block: {error}") from None
        if (entries[0] if entries else None) is not newest or block[:1] < b"\x80":
            # The table changed, or (where the block begins so) may have: other blocks mean other things now.
            self._remembered.clear()
        elif len(block) <= _REMEMBERED_BYTES:
            if len(self._remembered) >= _REMEMBERED_BLOCKS:
                self._remembered.clear()
            self._remembered[block] = head
        return head


def encode(fields: Fields) -> bytes:
    """A header block that leaves the peer's table alone; no Huffman codes."""
    out = bytearray()
    for name, value in fields:
        whole = _WHOLE.get((name, value))
        if whole is not None:
            out += whole
            continue
        index = _NAMES.get(name)
        if index is not None:
            out += index
        else:
            out.append(0)
            _write_length(out, len(name))
            out += name
        _write_length(out, len(value))
        out += value
    return bytes(out)


def _write_length(out: bytearray, length: int) -> None:
    """An integer with a prefix of seven bits (RFC 7541, section 5.1)."""
    if length < 0x7F:
        out.append(length)
        return
    out.append(0x7F)
    length -= 0x7F
    while length >= 0x80:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
