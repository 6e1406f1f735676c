"""What an attached client and a container's parent say to each other: bytes in, frames out.

A frame is one byte of kind, four bytes of length (big endian), then the payload:

    client to parent                      parent to client
    HELLO   flags: wanted streams         STDOUT  bytes
    STDIN   bytes                         STDERR  bytes
    EOF     stdin is over                 EXIT    exit code, four bytes
    RESIZE  rows, columns, two bytes each
"""

from __future__ import annotations

HELLO, STDIN, EOF, RESIZE = 1, 2, 3, 4
STDOUT, STDERR, EXIT = 17, 18, 19

WANTS_OUTPUT = 1
WANTS_INPUT = 2
WANTS_NEWS = 4  # an empty STDOUT frame whenever there is output

_HEADER = 5
_LONGEST = 1 << 20


def encode(kind: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return bytes((kind,)) + len(payload).to_bytes(4, "big") + payload


def resize(rows: int, columns: int) -> bytes:
    """A RESIZE frame."""
    return encode(RESIZE, rows.to_bytes(2, "big") + columns.to_bytes(2, "big"))


class Decoder:
    """Collects received bytes and gives out whole frames."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that are whole now. Raises ValueError for a frame above 1 MiB."""
        self._data += data
        frames = []
        while len(self._data) >= _HEADER:
            length = int.from_bytes(self._data[1:_HEADER], "big")
            if length > _LONGEST:
                raise ValueError(f"a frame of {length} bytes")
            end = _HEADER + length
            if len(self._data) < end:
                break
            frames.append((self._data[0], self._data[_HEADER:end]))
            self._data = self._data[end:]
        return frames
