"""HTTP/2's frames (RFC 9113, sections 4 and 6): their numbers, and how each is written.

A frame is a header of nine bytes and its payload:

    length   3 bytes, big endian: of the payload
    kind     1 byte
    flags    1 byte
    stream   4 bytes, of which the first bit means nothing; 0 is the connection itself
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(5, 10)

END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITISED = 0x20

HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6

NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
INTERNAL_ERROR = 0x2
FLOW_CONTROL_ERROR = 0x3
SETTINGS_TIMEOUT = 0x4
STREAM_CLOSED = 0x5
FRAME_SIZE_ERROR = 0x6
REFUSED_STREAM = 0x7
CANCEL = 0x8
COMPRESSION_ERROR = 0x9
CONNECT_ERROR = 0xA
ENHANCE_YOUR_CALM = 0xB
INADEQUATE_SECURITY = 0xC
HTTP_1_1_REQUIRED = 0xD

DEFAULT_WINDOW = 65_535
DEFAULT_FRAME_SIZE = 16_384
LARGEST_FRAME_SIZE = (1 << 24) - 1
LARGEST_WINDOW = (1 << 31) - 1
LARGEST_STREAM = (1 << 31) - 1

HEADER = Struct(">HBBBI")
"""The header: the length's upper two bytes, its lowest, kind, flags, stream."""
HEADER_SIZE = HEADER.size

_pack = HEADER.pack
_PAIR = Struct(">II")
_SETTING = Struct(">HI")


class ConnectionFailure(Exception):
    """The peer broke a rule that concerns the whole connection. code: what GOAWAY says."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class StreamFailure(Exception):
    """The peer broke a rule on one stream. code: what RST_STREAM says."""

    def __init__(self, stream: int, code: int, reason: str) -> None:
        super().__init__(reason)
        self.stream = stream
        self.code = code
        self.reason = reason


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame, whatever its kind."""
    length = len(payload)
    return _pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def header(length: int, kind: int, flags: int, stream: int) -> bytes:
    """The header of a frame whose payload is sent after it."""
    return _pack(length >> 8, length & 0xFF, kind, flags, stream)


def headers(stream: int, block: bytes, frame_size: int, *, end_stream: bool) -> bytes:
    """A header block as HEADERS and as many CONTINUATION frames as the peer's frame size asks for."""
    flags = END_STREAM if end_stream else 0
    if len(block) <= frame_size:
        return frame(HEADERS, flags | END_HEADERS, stream, block)
    parts = [frame(HEADERS, flags, stream, block[:frame_size])]
    last = (len(block) - 1) // frame_size * frame_size
    for start in range(frame_size, len(block), frame_size):
        end = END_HEADERS if start == last else 0
        parts.append(frame(CONTINUATION, end, stream, block[start : start + frame_size]))
    return b"".join(parts)


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*value) for value in values))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The settings of a frame, in their order. Raises ConnectionFailure for half a setting."""
    if len(payload) % _SETTING.size:
        raise ConnectionFailure(FRAME_SIZE_ERROR, "half a setting")
    return list(_SETTING.iter_unpack(payload))


SETTINGS_ACK = frame(SETTINGS, ACK, 0)


def rst_stream(stream: int, code: int) -> bytes:
    """An RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(last_stream: int, code: int, reason: str = "") -> bytes:
    """A GOAWAY frame. reason: for people, at most 200 characters of it."""
    return frame(GOAWAY, 0, 0, _PAIR.pack(last_stream, code) + reason[:200].encode())


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def without_padding(flags: int, payload: bytes) -> bytes:
    """The content of a DATA or HEADERS frame. Raises ConnectionFailure where the padding is too long."""
    if not flags & PADDED:
        return payload
    if not payload:
        raise ConnectionFailure(FRAME_SIZE_ERROR, "a padded frame without the length of its padding")
    padding = payload[0]
    if padding >= len(payload):
        raise ConnectionFailure(PROTOCOL_ERROR, "padding as long as the frame")
    return payload[1 : len(payload) - padding]
