"""SPDY/3's header blocks: names and values, compressed by one zlib stream for each direction.

    number of pairs   4 bytes, then for each
    name              4 bytes of length, and the name in lower case
    value             4 bytes of length, and the value; several are separated by NUL

The stream begins with a dictionary that both sides know (section 2.6.10.1 of the draft). A block that
expands beyond any measure ends the connection: after it the two sides no longer have the same state.
"""

from __future__ import annotations

import zlib

from cloche.wire.http2_frames import ConnectionFailure
from cloche.wire.spdy.frames import GOAWAY_PROTOCOL_ERROR, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT = 64 << 10
"""Bytes of one block, before and after it is expanded."""

_COMMON_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges "
    "age allow authorization cache-control connection content-base content-encoding content-language "
    "content-length content-location content-md5 content-range content-type date etag expect expires from "
    "host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location "
    "max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer "
    "transfer-encoding upgrade user-agent vary via warning www-authenticate method get status"
)
_COMMON_VALUES = ("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
_REST = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _counted(text: str) -> bytes:
    data = text.encode("latin-1")
    return len(data).to_bytes(4, "big") + data


DICTIONARY = b"".join(map(_counted, (*_COMMON_WORDS.split(), *_COMMON_VALUES))) + _REST.encode()


class Compressor:
    """Writes the blocks of one connection, in the order in which they are sent."""

    def __init__(self) -> None:
        # A small window and little memory: what is sent is a few short names.
        self._zlib = zlib.compressobj(6, zlib.DEFLATED, 11, 1, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)

    def encode(self, headers: Mapping[str, str]) -> bytes:
        """One block. headers: names in lower case."""
        pairs = b"".join(_counted(name) + _counted(value) for name, value in headers.items())
        block = self._zlib.compress(len(headers).to_bytes(4, "big") + pairs)
        return block + self._zlib.flush(zlib.Z_SYNC_FLUSH)


class Decompressor:
    """Reads the blocks of one connection, in the order in which they come."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zdict=DICTIONARY)

    def decode(self, block: bytes) -> dict[str, str]:
        """One block. Raises ConnectionFailure."""
        try:
            expanded = self._zlib.decompress(block, LIMIT + 1)
        except zlib.error:
            raise _failure("a header block that is not compressed as SPDY says") from None
        if len(expanded) > LIMIT or self._zlib.unconsumed_tail:
            raise _failure(f"a header block of more than {LIMIT} bytes")
        if self._zlib.eof:
            raise _failure("a header block that ends the compression")
        return _parse(expanded)


def _parse(block: bytes) -> dict[str, str]:
    if len(block) < 4:
        raise _failure("a header block that is cut short")
    headers: dict[str, str] = {}
    position = 4
    for _ in range(word(block)):
        name, position = _text(block, position)
        value, position = _text(block, position)
        if not name or name != name.lower() or name in headers:
            raise _failure(
                f"a header with the name {name[:100]!r}, which is empty, not lower case, or not the first"
            )
        headers[name] = value
    if position != len(block):
        raise _failure("a header block that is longer than it says")
    return headers


def _text(block: bytes, position: int) -> tuple[str, int]:
    if position + 4 > len(block):
        raise _failure("a header block that is cut short")
    start = position + 4
    end = start + word(block, position)
    if end > len(block):
        raise _failure("a header block that is cut short")
    return block[start:end].decode("latin-1"), end


def _failure(reason: str) -> ConnectionFailure:
    return ConnectionFailure(GOAWAY_PROTOCOL_ERROR, reason)
