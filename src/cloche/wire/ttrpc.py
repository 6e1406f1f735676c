"""ttrpc, the protocol between containerd and its shims: bytes in, frames out.

A frame is a header of ten bytes and its payload:

    length    4 bytes, big endian: of the payload, at most 4 MiB
    stream    4 bytes, big endian: which call; a client counts 1, 3, 5 …
    kind      REQUEST, RESPONSE or DATA
    flags     REMOTE_CLOSED: the sender sends no more; REMOTE_OPEN: it will send DATA;
              NO_DATA: the frame closes the stream and carries no message
"""

from __future__ import annotations

from _struct import Struct

from cloche.wire.messages.google import Any
from cloche.wire.protobuf import Message, binary, int32, int64, message, repeated, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

REQUEST, RESPONSE, DATA = 1, 2, 3
REMOTE_CLOSED, REMOTE_OPEN, NO_DATA = 1, 2, 4

MESSAGE_LIMIT = 4 << 20
_HEADER = Struct(">IIBB")


class ProtocolError(ValueError):
    """What the peer sent is not ttrpc: nothing that follows on the connection can be understood."""


class KeyValue(Message, package="ttrpc"):
    """One header of a call."""

    key: str = string(1)
    value: str = string(2)


class Request(Message, package="ttrpc"):
    """A call. payload: the method's request, encoded; timeout_nano: 0 for none."""

    service: str = string(1)
    method: str = string(2)
    payload: bytes = binary(3)
    timeout_nano: int = int64(4)
    metadata: Sequence[KeyValue] = repeated(5, KeyValue)


class Status(Message, package="google.rpc", name="Status"):
    """How a call ended. code: as gRPC numbers them (`cloche.wire.status`)."""

    code: int = int32(1)
    message: str = string(2)
    details: Sequence[Any] = repeated(3, Any)


class Response(Message, package="ttrpc"):
    """An answer. status is absent where it went well."""

    status: Status | None = message(1, Status)
    payload: bytes = binary(2)


class Frame:
    """One frame as received."""

    __slots__ = ("flags", "kind", "payload", "stream")

    def __init__(self, stream: int, kind: int, flags: int, payload: bytes) -> None:
        self.stream = stream
        self.kind = kind
        self.flags = flags
        self.payload = payload


def encode(stream: int, kind: int, payload: bytes = b"", *, flags: int = 0) -> bytes:
    """One frame. Raises ProtocolError for a payload above 4 MiB."""
    if len(payload) > MESSAGE_LIMIT:
        raise ProtocolError(f"a message of {len(payload)} bytes; ttrpc takes at most {MESSAGE_LIMIT}")
    return _HEADER.pack(len(payload), stream, kind, flags) + payload


class Decoder:
    """Collects received bytes and gives out whole frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def is_between(self) -> bool:
        """Whether no frame has begun that is not whole yet."""
        return not self._data

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now. Raises ProtocolError; the connection is lost then."""
        held = self._data
        held += data
        frames = []
        position = 0
        while len(held) - position >= _HEADER.size:
            length, stream, kind, flags = _HEADER.unpack_from(held, position)
            if length > MESSAGE_LIMIT:
                raise ProtocolError(f"a frame of {length} bytes; ttrpc takes at most {MESSAGE_LIMIT}")
            end = position + _HEADER.size + length
            if len(held) < end:
                break
            frames.append(Frame(stream, kind, flags, bytes(held[position + _HEADER.size : end])))
            position = end
        del held[:position]
        return frames
