"""gRPC over HTTP/2: messages in a stream's data, and what its headers and trailers say.

A message is one byte (1: compressed), its length in four bytes, big endian, and itself. The call's
end is in the trailers: `grpc-status`, with `grpc-message` in percent encoding where it failed.
"""

from __future__ import annotations

from cloche.errors import ClocheError, DataLoss, InvalidArgument, ResourceExhausted, Unimplemented
from cloche.wire import status
from cloche.wire.http2_headers import LIST_LIMIT, encode
from cloche.wire.status import StatusError
from cloche.wire.ttrpc import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloche.wire.http2_headers import Head

MESSAGE_LIMIT = 16 << 20
TEXT_LIMIT = 2048
"""Bytes of an error's text in the trailers, percent encoded."""

_PREFIX = 5
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_OURS = frozenset((b"te", b"content-type", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding"))
_ESCAPED = [
    b"%c" % byte if 0x20 <= byte < 0x7F and byte != ord("%") else b"%%%02X" % byte for byte in range(256)
]

HEAD = encode(((b":status", b"200"), (b"content-type", b"application/grpc")))
"""The head of every answer that begins with messages."""
OK_TRAILERS = encode(((b"grpc-status", b"0"),))


def frame(message: bytes) -> bytes:
    """One message as it travels."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class Credit:
    """How many bytes of a stream to give back to the peer's window, and when.

    A message is given back when it is taken, so that who does not take them holds up the peer; the
    beginning of one that is not whole at once, as it may be longer than the window.
    """

    __slots__ = ("_owed",)

    def __init__(self) -> None:
        self._owed = 0

    def came(self, size: int, *, waiting: bool) -> int:
        """So many bytes came. waiting: whether there are whole messages now. Returns what to give back."""
        self._owed += size
        return 0 if waiting else self.all()

    def took(self, size: int, *, waiting: bool) -> int:
        """A message of so many bytes was taken. waiting: whether there are more."""
        if not waiting:
            return self.all()
        given = min(size + _PREFIX, self._owed)
        self._owed -= given
        return given

    def all(self) -> int:
        """Everything that is owed."""
        given, self._owed = self._owed, 0
        return given


class MessageReader:
    """Collects a stream's data and gives out whole messages.

    encoding: what compressed messages are compressed with ("" and "identity": they may not be).
    limit: bytes of a message, also after decompression.
    """

    __slots__ = ("_encoding", "_held", "_limit")

    def __init__(self, encoding: str = "", *, limit: int = MESSAGE_LIMIT) -> None:
        self._held = bytearray()
        self._encoding = encoding
        self._limit = limit

    @property
    def held(self) -> int:
        """Bytes of a message that is not whole yet."""
        return len(self._held)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now. Raises ResourceExhausted for a long one, StatusError, DataLoss."""
        held: bytes | bytearray = data
        if self._held:
            self._held += data
            held = self._held
        messages = []
        position = 0
        while len(held) - position >= _PREFIX:
            length = int.from_bytes(held[position + 1 : position + _PREFIX], "big")
            if length > self._limit:
                raise ResourceExhausted(f"a message of {length} bytes; at most {self._limit} are taken")
            end = position + _PREFIX + length
            if end > len(held):
                break
            message = bytes(held[position + _PREFIX : end])
            messages.append(self._expanded(message) if held[position] else message)
            position = end
        if held is data:
            self._held += data[position:]
        else:
            del self._held[:position]
        return messages

    def _expanded(self, message: bytes) -> bytes:
        if self._encoding != "gzip":
            raise StatusError(status.INTERNAL, "a compressed message in a call without compression")
        import zlib

        expander = zlib.decompressobj(31)
        try:
            expanded = expander.decompress(message, self._limit + 1)
        except zlib.error as error:
            raise DataLoss(f"a compressed message: {error}") from None
        if len(expanded) > self._limit:
            raise ResourceExhausted(f"a message of more than {self._limit} bytes, expanded")
        if not expander.eof:
            raise DataLoss("a compressed message is cut short")
        return expanded

    def finish(self) -> None:
        """Nothing follows. Raises InvalidArgument inside a message."""
        if self._held:
            raise InvalidArgument("the stream ends inside a message")


class Request:
    """What the head of a call says.

    service, method: "" where the path is not of that form. timeout_s: None for none.
    metadata: names in lower case with their values; those that end in -bin still in base64.
    http_status: 200, or what to answer to somebody who does not speak gRPC. error: why it cannot be
    answered, None where it can.
    """

    __slots__ = ("encoding", "error", "http_status", "metadata", "method", "path", "service", "timeout_s")

    def __init__(self, head: Head) -> None:
        self.path = head.pseudo[b":path"].decode("ascii", "replace")
        self.service, _, self.method = self.path.removeprefix("/").partition("/")
        self.metadata = metadata_of(head)
        self.encoding = ""
        self.timeout_s: float | None = None
        self.error: ClocheError | None = None
        self.http_status = _http_status(head)
        if head.size > LIST_LIMIT:
            self.error = ResourceExhausted(f"headers of {head.size} bytes; at most {LIST_LIMIT} are taken")
            return
        try:
            self._read(head)
        except ClocheError as error:
            self.error = error

    def _read(self, head: Head) -> None:
        for name, value in head.fields:
            if name == b"grpc-timeout":
                self.timeout_s = read_timeout(value.decode("ascii", "replace"))
            elif name == b"grpc-encoding":
                self.encoding = value.decode("ascii", "replace")
        if self.encoding not in ("", "identity", "gzip"):
            raise Unimplemented(f"compression {self.encoding[:40]!r} is not known: use gzip")


def request_of(head: Head) -> Request:
    """What a request's head says; kept with the head, which may come again."""
    if not isinstance(head.memo, Request):
        head.memo = Request(head)
    return head.memo


def _http_status(head: Head) -> int:
    if head.pseudo[b":method"] != b"POST":
        return 405
    kind = next((value for name, value in head.fields if name == b"content-type"), b"")
    kind, _, _ = kind.partition(b";")
    return 200 if kind.strip() in (b"application/grpc", b"application/grpc+proto") else 415


def metadata_of(head: Head) -> dict[str, list[str]]:
    """What users of gRPC call metadata: the fields that it does not use itself."""
    metadata: dict[str, list[str]] = {}
    for name, value in head.fields:
        if name not in _OURS:
            metadata.setdefault(name.decode("ascii", "replace"), []).append(value.decode("utf-8", "replace"))
    return metadata


def read_timeout(text: str) -> float:
    """Seconds. Raises InvalidArgument."""
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdigit() and len(number) <= 8 and unit in _UNITS and unit):
        raise InvalidArgument(f"grpc-timeout {text[:20]!r}: a number of at most 8 digits and one of HMSmun")
    return int(number) * _UNITS[unit]


def write_timeout(seconds: float) -> bytes:
    """The header's value for a time that is left; never less than a nanosecond."""
    for unit, size in (("n", 1e-9), ("u", 1e-6), ("m", 1e-3), ("S", 1.0)):
        if seconds / size < 1e8:
            return b"%d%s" % (max(1, int(seconds / size)), unit.encode())
    return b"%dH" % min(99_999_999, seconds // 3600)


def encode_binary(value: bytes) -> str:
    """The value of a field whose name ends in -bin."""
    from binascii import b2a_base64

    return b2a_base64(value, newline=False).decode().rstrip("=")


def decode_binary(text: str) -> bytes:
    """What such a value stands for, padded or not. Raises InvalidArgument."""
    from binascii import Error, a2b_base64

    try:
        return a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True) if text else b""
    except (Error, ValueError):
        raise InvalidArgument("a binary header is not base64") from None


def escape(text: str) -> bytes:
    """A text in percent encoding, cut at a character's end where it is longer than TEXT_LIMIT."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= TEXT_LIMIT and text.isascii() and text.isprintable() and "%" not in text:
        return raw
    out = bytearray()
    for character in text:
        piece = b"".join(_ESCAPED[byte] for byte in character.encode("utf-8", "replace"))
        if len(out) + len(piece) > TEXT_LIMIT:
            break
        out += piece
    return bytes(out)


def unescape(value: bytes) -> str:
    """The text of a percent encoding; what is none stays as it is."""
    if b"%" not in value:
        return value.decode("utf-8", "replace")
    out = bytearray()
    position = 0
    while position < len(value):
        digits = value[position + 1 : position + 3]
        if value[position] == ord("%") and len(digits) == 2 and digits.isalnum():
            try:
                out.append(int(digits, 16))
                position += 3
                continue
            except ValueError:
                pass
        out.append(value[position])
        position += 1
    return out.decode("utf-8", "replace")


def fields_of(metadata: Mapping[str, Sequence[str]]) -> list[tuple[bytes, bytes]]:
    """Metadata as fields."""
    return [(name.encode(), value.encode()) for name, values in metadata.items() for value in values]


def status_fields(said: Status) -> list[tuple[bytes, bytes]]:
    """A call's end as fields."""
    fields = [(b"grpc-status", b"%d" % said.code)]
    if said.message:
        fields.append((b"grpc-message", escape(said.message)))
    if said.details:
        details = encode_binary(said.encode()).encode()
        if len(details) <= TEXT_LIMIT:
            fields.append((b"grpc-status-details-bin", details))
    return fields


def head_block(metadata: Mapping[str, Sequence[str]]) -> bytes:
    """The head of an answer with metadata of its own."""
    return HEAD + encode(fields_of(metadata))


def trailers_block(said: Status, metadata: Mapping[str, Sequence[str]]) -> bytes:
    """The trailers of a call."""
    return encode([*status_fields(said), *fields_of(metadata)])


def trailers_only_block(said: Status, metadata: Mapping[str, Sequence[str]]) -> bytes:
    """An answer that is nothing but an error."""
    accepts = [(b"grpc-accept-encoding", b"identity,gzip")] if said.code == status.UNIMPLEMENTED else []
    return HEAD + encode([*accepts, *status_fields(said), *fields_of(metadata)])


def status_from(head: Head) -> Status | None:
    """What a response's head or trailers say of the call's end; None where they say nothing."""
    fields = dict(head.fields)
    code = fields.get(b"grpc-status")
    if code is None:
        return None
    details = fields.get(b"grpc-status-details-bin")
    if details is not None:
        try:
            return Status.decode(decode_binary(details.decode("ascii", "replace")))
        except (ValueError, InvalidArgument):
            pass
    number = int(code) if code.isdigit() and len(code) < 4 else status.UNKNOWN
    return Status(code=number, message=unescape(fields.get(b"grpc-message", b"")))
