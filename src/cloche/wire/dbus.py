"""D-Bus messages and the words before them: bytes in, messages out, without a socket.

A message is a header, its fields and a body, each aligned to eight bytes:

    order     `l` or `B`: the byte order of all that follows
    kind      CALL, ANSWER, ERROR or SIGNAL
    flags, version (1)
    size      of the body, 4 bytes; serial, 4 bytes: counted by the sender
    fields    a(yv): destination, path, interface, member, the body's signature …
"""

from __future__ import annotations

from cloche.spec.record import Record
from cloche.wire.dbus_values import ARRAY_LIMIT, Decoder, Encoder, ProtocolError, Variant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Literal

CALL, ANSWER, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY_EXPECTED, NO_AUTO_START = 1, 2

_MESSAGE_LIMIT = 1 << 27
_FIXED = 16
_FIELDS = {
    "path": (1, "o"),
    "interface": (2, "s"),
    "member": (3, "s"),
    "error": (4, "s"),
    "answers": (5, "u"),
    "destination": (6, "s"),
    "sender": (7, "s"),
    "signature": (8, "g"),
}
_FIELD_NAMES = {number: (name, kind) for name, (number, kind) in _FIELDS.items()}

GREETING = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"
"""All that a client says before its first message. That must wait for the answer (`Reader.greeted`):
systemd does not look again at what it read together with these words.

No user is named: the server takes the one that the kernel tells of the socket, so that it works from
inside a user namespace, where one's own number is another.
"""


class Message(Record):
    """One message.

    answers: serial of the call that an answer or error is for. signature and body: its values.
    """

    kind: int
    serial: int
    flags: int = 0
    path: str = ""
    interface: str = ""
    member: str = ""
    error: str = ""
    answers: int = 0
    destination: str = ""
    sender: str = ""
    signature: str = ""
    body: tuple[Any, ...] = ()

    def encode(self) -> bytes:
        """As it is sent. Raises ValueError for a body that does not fit its signature."""
        body = Encoder().put(self.signature, *self.body).data
        fields = [
            (number, Variant(kind, getattr(self, name)))
            for name, (number, kind) in _FIELDS.items()
            if getattr(self, name)
        ]
        head = Encoder()
        head.put("yyyyuua(yv)", ord("l"), self.kind, self.flags, 1, len(body), self.serial, fields)
        head.align(8)
        return bytes(head.data + body)


class Reader:
    """Takes what a server sends, first its answer to GREETING, and gives the messages.

    greeted: whether that was a welcome.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self.greeted = False

    def feed(self, data: bytes) -> Iterator[Message]:
        """Add bytes; the messages that are complete now. Raises ProtocolError."""
        self._data += data
        if not self.greeted and not self._greet():
            return
        while len(self._data) >= _FIXED:
            size = _size(self._data)
            if len(self._data) < size:
                return
            message = bytes(self._data[:size])
            del self._data[:size]
            yield decode(message)

    def _greet(self) -> bool:
        """Whether the server has let us in: it asks for data, gets none, and says OK."""
        while b"\r\n" in self._data:
            line, _, rest = bytes(self._data).partition(b"\r\n")
            self._data[:] = rest
            word = line.partition(b" ")[0]
            if word == b"OK":
                self.greeted = True
                return True
            if word != b"DATA":
                raise ProtocolError(f"the server refused to let us in: {line[:80].decode(errors='replace')}")
        if len(self._data) > 4096:
            raise ProtocolError("the server does not speak D-Bus")
        return False


def _order(head: bytes | bytearray) -> Literal["little", "big"]:
    if head[0] not in b"lB" or head[3] != 1:
        raise ProtocolError(f"a message that begins with {bytes(head[:4])!r}")
    return "little" if head[0] == ord("l") else "big"


def _size(head: bytearray) -> int:
    """The size of the message whose first 16 bytes are here."""
    decoder = Decoder(bytes(head[4:_FIXED]), _order(head))
    body, _, fields = decoder.take("uuu")
    if fields > ARRAY_LIMIT or body > _MESSAGE_LIMIT:
        raise ProtocolError(f"a message of {fields} and {body} bytes")
    size: int = _FIXED + fields + -fields % 8 + body
    return size


def decode(data: bytes) -> Message:
    """One whole message. Raises ProtocolError. Fields that nobody here knows are left out."""
    decoder = Decoder(data, _order(data[:4].ljust(4, b"\0")))
    _, kind, flags, _, size, serial, fields = decoder.take("yyyyuua(yv)")
    decoder.align(8)
    named: dict[str, Any] = {}
    for number, variant in fields:
        name, signature = _FIELD_NAMES.get(number, ("", ""))
        if name:
            if variant.signature != signature:
                raise ProtocolError(f"the field {name} is of the type {variant.signature!r}")
            named[name] = variant.value
    if len(data) < size:
        raise ProtocolError("the body is larger than the message")
    body = Decoder(data[len(data) - size :], _order(data))
    values = tuple(body.take(named.get("signature", "")))
    body.end()
    return Message(kind=kind, serial=serial, flags=flags, body=values, **named)
