"""netlink(7): the sockets and messages that the kernel's network is configured by.

A netlink socket belongs to the network namespace it was opened in for ever, so whoever is given one
can work there without entering it.
"""

from __future__ import annotations

import os
from _socket import SOCK_CLOEXEC, SOCK_RAW, socket
from _struct import Struct, pack, unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_AF_NETLINK = 16
_SOL_NETLINK, _EXTENDED_ERRORS, _STRICT_CHECKS = 270, 11, 12

_ERROR, _DONE = 2, 3
REQUEST, ACK, DUMP, CREATE, EXCLUSIVE = 0x1, 0x4, 0x300, 0x400, 0x200
_ERROR_IS_CAPPED, _ERROR_HAS_WORDS = 0x100, 0x200
_WORDS = 1
NESTED = 0x8000
_TYPE_MASK = 0x3FFF

HEADER = Struct("=IHHII")
_BUFFER = 1 << 18


class Netlink:
    """A netlink socket; a context manager that closes it.

    protocol: NETLINK_ROUTE and so on. descriptor: of one opened in another network namespace, taken
    over. None: one of our own. Methods raise OSError with the kernel's errno, and its own words
    where it has any.
    """

    protocol = 0

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            self._socket = socket(_AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, self.protocol)
        else:
            self._socket = socket(fileno=descriptor)
        self._socket.setsockopt(_SOL_NETLINK, _EXTENDED_ERRORS, 1)
        self._socket.setsockopt(_SOL_NETLINK, _STRICT_CHECKS, 1)
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """Send a request and gather the bodies of its answer."""
        self._sequence += 1
        flags |= REQUEST if flags & DUMP == DUMP else REQUEST | ACK
        size = HEADER.size + len(body)
        self._socket.send(HEADER.pack(size, kind, flags, self._sequence, 0) + body)
        replies: list[bytes] = []
        while True:
            data = self._socket.recv(_BUFFER)
            for reply, reply_flags, sequence, content in messages(data):
                if sequence != self._sequence:
                    continue
                if reply == _ERROR:
                    raise_error(content, reply_flags)
                if reply in (_ERROR, _DONE):
                    return replies
                replies.append(content)

    def tell(self, requests: Sequence[tuple[int, int, bytes]]) -> None:
        """Send (kind, flags, body) requests at once, and wait until all are obeyed.

        Those behind one that fails are tried all the same. Raises the first one's error.
        """
        first = self._sequence + 1
        data = b""
        for kind, flags, body in requests:
            self._sequence += 1
            header = HEADER.pack(HEADER.size + len(body), kind, flags | REQUEST | ACK, self._sequence, 0)
            data += header + body + bytes(-len(body) % 4)
        self._socket.send(data)
        failure: OSError | None = None
        left = len(requests)
        while left:
            for reply, flags, sequence, content in messages(self._socket.recv(_BUFFER)):
                if reply == _ERROR and sequence >= first:
                    left -= 1
                    try:
                        raise_error(content, flags)
                    except OSError as error:
                        failure = failure or error
        if failure is not None:
            raise failure


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(kind, flags, sequence, body) of each message in what was received."""
    at = 0
    while at + HEADER.size <= len(data):
        size, kind, flags, sequence, _ = HEADER.unpack_from(data, at)
        if size < HEADER.size:
            return
        yield kind, flags, sequence, data[at + HEADER.size : at + size]
        at += size + 3 & ~3


def raise_error(content: bytes, flags: int) -> None:
    """Raise OSError for an error message's body, unless it says that all is well."""
    (error,) = unpack_from("=i", content)
    if not error:
        return
    words = os.strerror(-error)
    if flags & _ERROR_HAS_WORDS:
        (size,) = unpack_from("=I", content, 4)
        start = 4 + (HEADER.size if flags & _ERROR_IS_CAPPED else size)
        for kind, value in attributes(content[start:]):
            if kind == _WORDS:
                words = value.rstrip(b"\0").decode(errors="replace")
    raise OSError(-error, words)


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *values: bytes) -> bytes:
    """An attribute that consists of attributes."""
    return attribute(kind | NESTED, b"".join(values))


def text(kind: int, value: str) -> bytes:
    """An attribute that is a string."""
    return attribute(kind, value.encode() + b"\0")


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, value) of each attribute."""
    at = 0
    while at + 4 <= len(data):
        size, kind = unpack_from("=HH", data, at)
        if size < 4:
            return
        yield kind & _TYPE_MASK, data[at + 4 : at + size]
        at += size + 3 & ~3
