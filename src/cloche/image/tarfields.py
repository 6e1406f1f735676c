"""The fields of tar headers: numbers, times, checksums and pax records, from bytes to values.

Formats: POSIX ustar and pax (IEEE 1003.1), GNU's base-256 numbers, star's extended attributes.
Everything here is bounded by the length of its input and raises ValueError with a short reason; the
reader says where in which archive.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64
from zlib import adler32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NANOSECONDS = 1_000_000_000
GREATEST = (1 << 63) - 1
SCHILY_XATTR = b"SCHILY.xattr."
LIBARCHIVE_XATTR = b"LIBARCHIVE.xattr."
_FIELD_PADDING = b" \0"


def number(field: bytes) -> int:
    """The value of a numeric header field: octal digits, or base-256 where its top bit is set.

    Raises ValueError when it is neither or does not fit 63 bits.
    """
    digits = field.rstrip(_FIELD_PADDING)
    if digits.isdigit():
        return int(digits, 8)
    if field[:1] >= b"\x80":
        return _base256(field)
    digits = field.strip(_FIELD_PADDING).partition(b"\0")[0].rstrip(b" ")
    if not digits:
        return 0
    if not digits.isdigit():
        raise ValueError(f"{field!r} is not a number")
    return int(digits, 8)


def _base256(field: bytes) -> int:
    """GNU's binary numbers: two's complement, big endian, the top bit being the marker."""
    value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
    sign = 1 << (8 * len(field) - 2)
    if value & sign:
        value -= sign << 1
    if not -GREATEST <= value <= GREATEST:
        raise ValueError("a number is larger than 63 bits")
    return value


def checksum_matches(block: bytes) -> bool:
    """Whether a 512-byte header carries the checksum of its own bytes.

    The sum is taken by adler32, whose low half is the plain sum of up to 256 bytes plus one: it
    cannot wrap, and it is fifty times faster than adding bytes in Python.
    """
    field = block[148:156]
    total = (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2 - sum(field) + 256
    try:
        expected = number(field)
    except ValueError:
        return False
    return total == expected or _signed_sum(block) == expected


def _signed_sum(block: bytes) -> int:
    """The sum as some old tars computed it, with bytes as signed characters."""
    rest = block[:148] + block[156:]
    return 256 + sum(byte - 256 if byte > 127 else byte for byte in rest)


def pax_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The (keyword, value) pairs of an extended header, in order; values as they are.

    Raises ValueError when a record does not say its own length or has no keyword.
    """
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        length = data[at:space] if space > 0 else b""
        if not length.isdigit():
            if not data[at:].strip(b"\0"):
                return
            raise ValueError("an extended header record does not begin with its length")
        end = at + int(length)
        if end > len(data) or end <= space + 1 or data[end - 1] != 0x0A:
            raise ValueError("an extended header record has a wrong length")
        keyword, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not keyword:
            raise ValueError("an extended header record has no keyword")
        yield keyword, value
        at = end


def pax_record(keyword: bytes, value: bytes) -> bytes:
    """One record of an extended header, beginning with its own length."""
    size = len(keyword) + len(value) + 3
    length = size + len(str(size))
    if len(str(length)) > len(str(size)):
        length += 1
    return b"%d %s=%s\n" % (length, keyword, value)


def decimal(value: bytes) -> int:
    """A whole number of an extended header. Raises ValueError when it is not or exceeds 63 bits."""
    if not value.isdigit() or len(value) > 19 or int(value) > GREATEST:
        raise ValueError(f"{value[:40]!r} is not a number of up to 63 bits")
    return int(value)


def time_ns(value: bytes) -> int:
    """A time of an extended header (seconds, decimal fraction allowed) in nanoseconds."""
    negative = value.startswith(b"-")
    seconds, _, fraction = value[negative:].partition(b".")
    if not seconds.isdigit() or len(seconds) > 12 or (fraction and not fraction.isdigit()):
        raise ValueError(f"{value[:40]!r} is not a time")
    total = int(seconds) * NANOSECONDS + int(fraction[:9].ljust(9, b"0"))
    return -total if negative else total


def time_text(nanoseconds: int) -> bytes:
    """A time as extended headers write it."""
    seconds, fraction = divmod(abs(nanoseconds), NANOSECONDS)
    sign = b"-" if nanoseconds < 0 else b""
    digits = b"%09d" % fraction
    return sign + b"%d" % seconds + (b"." + digits.rstrip(b"0") if fraction else b"")


def extended_attributes(records: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """The extended attributes among the records of an extended header.

    Where both star's and libarchive's forms are present star's wins: it is the one OCI layers use.
    """
    found: dict[bytes, bytes] = {}
    for keyword, value in records.items():
        if keyword.startswith(LIBARCHIVE_XATTR):
            found.setdefault(_unquoted(keyword[len(LIBARCHIVE_XATTR) :]), _unpacked(value))
    for keyword, value in records.items():
        if keyword.startswith(SCHILY_XATTR):
            found[keyword[len(SCHILY_XATTR) :]] = value
    for name in found:
        if not name or b"\0" in name or len(name) > 255:
            raise ValueError(f"{name[:40]!r} is not the name of an extended attribute")
    return found


def _unquoted(name: bytes) -> bytes:
    """Undo the %XX quoting of libarchive's attribute names."""
    if b"%" not in name:
        return name
    head, *parts = name.split(b"%")
    try:
        return head + b"".join(bytes.fromhex(part[:2].decode("ascii")) + part[2:] for part in parts)
    except (ValueError, UnicodeDecodeError):
        raise ValueError(f"{name[:40]!r} is not the name of an extended attribute") from None


def _unpacked(value: bytes) -> bytes:
    """Undo the base64 of libarchive's attribute values, which leaves the padding out."""
    try:
        return a2b_base64(value + b"=" * (-len(value) % 4))
    except Base64Error:
        raise ValueError("an extended attribute's value is not base64") from None
