"""SPDY/3.1's frames (draft-mbelshe-httpbis-spdy-00, section 2): their numbers, and how each is written.

A frame is a header of eight bytes and its payload:

    control   1 bit set, 15 bits version (3), 2 bytes kind      data   1 bit clear, 31 bits stream
    flags     1 byte                                            flags  1 byte
    length    3 bytes: of the payload                           length 3 bytes
"""

from __future__ import annotations

from struct import Struct

from cloche.wire.http2_frames import ConnectionFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

VERSION = 3
CONTROL = 0x8000_0000

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS = range(1, 5)
PING, GOAWAY, HEADERS, WINDOW_UPDATE = range(6, 10)

FIN = 0x1
UNIDIRECTIONAL = 0x2

INITIAL_WINDOW_SIZE = 7

# Of RST_STREAM.
PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, UNSUPPORTED_VERSION, CANCEL = range(1, 6)
INTERNAL_ERROR, FLOW_CONTROL_ERROR, STREAM_IN_USE, STREAM_ALREADY_CLOSED = range(6, 10)

# Of GOAWAY.
GOAWAY_OK, GOAWAY_PROTOCOL_ERROR, GOAWAY_INTERNAL_ERROR = range(3)

DEFAULT_WINDOW = 64 << 10
LARGEST = (1 << 31) - 1
"""Of a stream's number, and of a window."""
LARGEST_PAYLOAD = (1 << 24) - 1

HEADER = Struct(">II")
"""The header: its first word as above, then flags and length."""
PAIR = Struct(">II")
SYN_STREAM_HEAD = Struct(">IIH")
"""Stream, the stream it belongs to, and its priority with a byte that means nothing to us."""
_WORD = Struct(">I")


def control(kind: int, flags: int, payload: bytes) -> bytes:
    """One control frame."""
    return HEADER.pack(CONTROL | VERSION << 16 | kind, flags << 24 | len(payload)) + payload


def data_header(stream: int, length: int, *, fin: bool) -> bytes:
    """The header of a data frame, whose payload is sent after it."""
    return HEADER.pack(stream, (FIN << 24 if fin else 0) | length)


def syn_stream(stream: int, block: bytes, *, fin: bool, unidirectional: bool = False) -> bytes:
    """A frame that opens a stream. block: its compressed headers."""
    flags = (FIN if fin else 0) | (UNIDIRECTIONAL if unidirectional else 0)
    return control(SYN_STREAM, flags, SYN_STREAM_HEAD.pack(stream, 0, 0) + block)


def with_headers(kind: int, stream: int, block: bytes, *, fin: bool) -> bytes:
    """A SYN_REPLY or HEADERS frame. block: compressed headers."""
    return control(kind, FIN if fin else 0, _WORD.pack(stream) + block)


def rst_stream(stream: int, code: int) -> bytes:
    """A frame that ends a stream before its end."""
    return control(RST_STREAM, 0, PAIR.pack(stream, code))


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    """A SETTINGS frame. values: a setting's number and what it is set to."""
    entries = [PAIR.pack(number & 0xFF_FFFF, value) for number, value in values]
    return control(SETTINGS, 0, _WORD.pack(len(entries)) + b"".join(entries))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The settings of a frame, in their order. Raises ConnectionFailure where their number is wrong."""
    if len(payload) < 4 or (len(payload) - 4) != 8 * word(payload):
        raise ConnectionFailure(GOAWAY_PROTOCOL_ERROR, "SETTINGS of another length than they say")
    return [(number & 0xFF_FFFF, value) for number, value in PAIR.iter_unpack(payload[4:])]


def ping(number: int) -> bytes:
    """A PING frame, or its answer."""
    return control(PING, 0, _WORD.pack(number))


def goaway(last_stream: int, code: int) -> bytes:
    """A GOAWAY frame."""
    return control(GOAWAY, 0, PAIR.pack(last_stream, code))


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; of stream 0 for the connection's window."""
    return control(WINDOW_UPDATE, 0, PAIR.pack(stream, increment))


def word(payload: bytes, start: int = 0) -> int:
    """The four bytes from there as a number."""
    number: int = _WORD.unpack_from(payload, start)[0]
    return number
