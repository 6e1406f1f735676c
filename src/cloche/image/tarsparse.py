"""Sparse files in tar archives: GNU's old headers and the three sparse forms of pax.

A map is a tuple of (offset, length) pairs, ascending and without overlap: where the stored bytes
belong in the file. All functions raise ValueError with a short reason.
"""

from __future__ import annotations

from cloche.image.tarfields import decimal, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Map = tuple[tuple[int, int], ...]

MAP_LIMIT_BYTES = 1 << 20
_PAIR = 24


def _pairs(field: bytes) -> list[tuple[int, int]]:
    """The pairs of an old GNU header: two numbers of 12 bytes each, up to the first empty one."""
    found = []
    for at in range(0, len(field) - _PAIR + 1, _PAIR):
        if not field[at]:
            break
        found.append((number(field[at : at + 12]), number(field[at + 12 : at + _PAIR])))
    return found


def old_gnu(block: bytes, next_block: Callable[[], bytes]) -> tuple[Map, int]:
    """The map and the real size from an old GNU sparse header.

    next_block: gives the extension blocks that follow the header, each of 512 bytes.
    """
    pairs = _pairs(block[386:482])
    more = block[482]
    taken = 0
    while more:
        taken += 512
        if taken > MAP_LIMIT_BYTES:
            raise ValueError("its sparse map is too large")
        extension = next_block()
        pairs += _pairs(extension[:504])
        more = extension[504]
    return tuple(pairs), number(block[483:495])


def from_records(records: dict[bytes, bytes], pairs: list[bytes]) -> Map:
    """The map of pax forms 0.0 and 0.1.

    records: the extended header; pairs: values of GNU.sparse.offset and numbytes in their order
    (form 0.0 repeats the keywords, so a dictionary cannot hold them).
    """
    text = records.get(b"GNU.sparse.map")
    words = text.split(b",") if text else pairs
    return _couples([decimal(word) for word in words])


def from_contents(next_block: Callable[[], bytes]) -> tuple[Map, int]:
    """The map of pax form 1.0, which precedes the file's bytes, and how many bytes it took."""
    text = b""
    wanted = 1
    counted = False
    taken = 0
    while True:
        while text.count(b"\n") < wanted:
            taken += 512
            if taken > MAP_LIMIT_BYTES:
                raise ValueError("its sparse map is too large")
            text += next_block()
        if counted:
            return _couples([decimal(line) for line in text.split(b"\n")[1:wanted]]), taken
        wanted = 2 * decimal(text.partition(b"\n")[0]) + 1
        counted = True
        if wanted > MAP_LIMIT_BYTES:
            raise ValueError("its sparse map is too large")


def _couples(numbers: list[int]) -> Map:
    if len(numbers) % 2:
        raise ValueError("its sparse map has an odd number of values")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def checked(pairs: Map, size: int, stored: int) -> Map:
    """The map without empty pieces, when it fits the file's size and its stored bytes."""
    end = total = 0
    for offset, length in pairs:
        if offset < end or length < 0 or offset + length > size:
            raise ValueError("its sparse map overlaps or exceeds the file")
        end = offset + length
        total += length
    if total != stored:
        raise ValueError("its sparse map does not match the stored bytes")
    return tuple(pair for pair in pairs if pair[1])
