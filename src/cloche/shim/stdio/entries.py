"""Output cut into the entries of a log: whole lines, and pieces of those that are long.

json-file   {"log":"text\\n","stream":"stdout","time":"…"}       a piece has no \\n
cri         2026-01-02T03:04:05.000000006Z stdout F text        a piece has P instead of F
"""

from __future__ import annotations

from cloche.shim import jsonlog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Encode = Callable[[str, bytes, bool, str], bytes]

# Docker and the kubelet's runtimes cut here too.
LONGEST = 16 << 10


def cut(data: bytes) -> tuple[list[tuple[bytes, bool]], int]:
    """Entries, each with whether it ends its line (the line's end is taken off), and the bytes they took.

    The rest is at most LONGEST bytes of a line that has not ended yet.
    """
    lines = data.split(b"\n")
    rest = lines.pop()
    entries: list[tuple[bytes, bool]] = []
    for line in lines:
        if len(line) > LONGEST:
            pieces, line = _pieces(line)
            entries.extend((piece, False) for piece in pieces)
        entries.append((line, True))
    if len(rest) > LONGEST:
        pieces, rest = _pieces(rest)
        entries.extend((piece, False) for piece in pieces)
    return entries, len(data) - len(rest)


def _pieces(line: bytes) -> tuple[list[bytes], bytes]:
    """Pieces of LONGEST bytes, or up to three less where a character of UTF-8 would be torn; and the rest."""
    pieces = []
    start = 0
    while len(line) - start > LONGEST:
        end = start + LONGEST
        while line[end] & 0xC0 == 0x80 and end > start + LONGEST - 3:
            end -= 1
        pieces.append(line[start:end])
        start = end
    return pieces, line[start:]


def json_file(stream: str, text: bytes, whole: bool, moment: str) -> bytes:  # noqa: FBT001 - one of Encode
    """Docker's form of an entry."""
    return jsonlog.encode(stream, text + b"\n" if whole else text, moment).encode("ascii")


def cri(stream: str, text: bytes, whole: bool, moment: str) -> bytes:  # noqa: FBT001 - one of Encode
    """The form of an entry that Kubernetes reads."""
    return f"{moment} {stream} {'F' if whole else 'P'} ".encode() + text + b"\n"
