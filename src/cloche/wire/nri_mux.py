"""NRI's multiplexer: two ttrpc connections in one stream of bytes. Bytes in, payloads out.

A frame is a header of eight bytes and its payload:

    connection  4 bytes, big endian: PLUGIN, where the runtime calls the plugin, or RUNTIME, the other way
    length      4 bytes, big endian: of the payload, at most one whole frame of ttrpc (4 MiB and its header)

Nothing opens or closes the connections inside: they are there as long as the stream is.
"""

from __future__ import annotations

from _struct import Struct

from cloche.wire import ttrpc

PLUGIN, RUNTIME = 1, 2

_HEADER = Struct(">II")
_TTRPC_HEADER_BYTES = 10
PAYLOAD_LIMIT = ttrpc.MESSAGE_LIMIT + _TTRPC_HEADER_BYTES
_FIRST_BYTES = 4096


class ProtocolError(ValueError):
    """What the peer sent is not NRI's multiplexer: nothing that follows can be understood."""


def encode(connection: int, frame: bytes) -> bytes:
    """One frame of ttrpc as bytes to send, cut as Go's plugins need it. Raises ProtocolError if too long.

    Those read the header of ttrpc through a buffer of 4 KiB, into which a payload has to fit, and then
    the rest with a buffer of just its length; and they give up when too many payloads wait. So there
    are two at the most.
    """
    if len(frame) > PAYLOAD_LIMIT:
        raise ProtocolError(f"a payload of {len(frame)} bytes; NRI takes at most {PAYLOAD_LIMIT}")
    first, rest = frame[:_FIRST_BYTES], frame[_FIRST_BYTES:]
    data = _HEADER.pack(connection, len(first)) + first
    return data + _HEADER.pack(connection, len(rest)) + rest if rest else data


class Decoder:
    """Collects received bytes and gives out whole payloads."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The payloads that are whole now, each with its connection. Raises ProtocolError."""
        held = self._data
        held += data
        found = []
        position = 0
        while len(held) - position >= _HEADER.size:
            connection, length = _HEADER.unpack_from(held, position)
            if length > PAYLOAD_LIMIT:
                raise ProtocolError(f"a payload of {length} bytes; NRI takes at most {PAYLOAD_LIMIT}")
            end = position + _HEADER.size + length
            if len(held) < end:
                break
            found.append((connection, bytes(held[position + _HEADER.size : end])))
            position = end
        del held[:position]
        return found
