"""Messages of DNS, as far as names of containers need them: a question is read, an answer is written."""

from __future__ import annotations

from _struct import Struct, pack, unpack_from

from cloche.spec.record import Record

A, PTR, AAAA = 1, 12, 28
_INTERNET = 1
_HEADER = Struct(">6H")
_RESPONSE, _RECURSION_AVAILABLE, _RECURSION_DESIRED, _OPCODE = 0x8000, 0x80, 0x100, 0x7800
_AUTHORITATIVE = 0x400
SERVER_FAILED, NO_SUCH_NAME = 2, 3
_LIMIT_BYTES = 4096
_POINTER = b"\xc0\x0c"  # to the question's name
_NAME_LIMIT = 255


class Question(Record):
    """A query with one question. name: in lower case, without the dot at its end. end: of the question."""

    number: int
    flags: int
    name: str
    kind: int
    end: int

    @property
    def reverse(self) -> str:
        """The address that a name below in-addr.arpa or ip6.arpa stands for; empty for others."""
        labels = self.name.split(".")
        if self.name.endswith(".in-addr.arpa") and len(labels) == 6:
            return ".".join(reversed(labels[:4]))
        if (
            self.name.endswith(".ip6.arpa")
            and len(labels) == 34
            and all(len(each) == 1 for each in labels[:32])
        ):
            digits = "".join(reversed(labels[:32]))
            return ":".join(digits[at : at + 4] for at in range(0, 32, 4))
        return ""


def parse(data: bytes) -> Question | None:
    """The question of a query; None for what is no query, or one that we do not read."""
    if not _HEADER.size <= len(data) <= _LIMIT_BYTES:
        return None
    number, flags, questions, _, _, _ = _HEADER.unpack_from(data)
    if flags & (_RESPONSE | _OPCODE) or questions != 1:
        return None
    labels, at = [], _HEADER.size
    while at < len(data) and data[at]:
        size = data[at]
        # Compression in a question would point to itself.
        if size > 63 or at + 1 + size >= len(data):
            return None
        labels.append(data[at + 1 : at + 1 + size])
        at += 1 + size
    if at + 5 > len(data) or at - _HEADER.size > _NAME_LIMIT:
        return None
    kind, kind_class = unpack_from(">2H", data, at + 1)
    if kind_class != _INTERNET:
        return None
    name = b".".join(labels).decode("ascii", "replace").lower()
    return Question(number, flags, name, kind, at + 5)


def answer(query: bytes, question: Question, values: list[bytes], *, ttl_s: int) -> bytes:
    """An answer with these values, of the kind that was asked for; there may be none."""
    flags = _RESPONSE | _AUTHORITATIVE | _RECURSION_AVAILABLE | question.flags & _RECURSION_DESIRED
    head = _HEADER.pack(question.number, flags, 1, len(values), 0, 0)
    records = b"".join(
        _POINTER + pack(">2HIH", question.kind, _INTERNET, ttl_s, len(value)) + value for value in values
    )
    return head + query[_HEADER.size : question.end] + records


def failure(query: bytes, question: Question, code: int) -> bytes:
    """An answer that says that there is none."""
    flags = _RESPONSE | _RECURSION_AVAILABLE | question.flags & _RECURSION_DESIRED | code
    return _HEADER.pack(question.number, flags, 1, 0, 0, 0) + query[_HEADER.size : question.end]


def encode_name(name: str) -> bytes:
    """A name as a value."""
    labels = [label.encode("ascii", "replace")[:63] for label in name.split(".") if label]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
