"""Header blocks read (RFC 7541), with the tables and the Huffman code of hpack.

Its own reader goes through layers that cost more than all else that is done for a short call; a
client such as ctr is a connection of its own each time, so that no block of it was met before.
"""

from __future__ import annotations

from hpack import HPACKDecodingError, InvalidTableSizeError, OversizedHeaderListError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

_OVERHEAD = 32
_INTEGER_BYTES = 6
_INDEXED, _LITERAL_ADDED, _TABLE_SIZE = 0x80, 0x40, 0x20
_HUFFMAN = 0x80


class FieldReader:
    """Reads the blocks of one connection. table: what its peer may refer to.

    limit: bytes of a list, as RFC 9113 counts them.
    """

    def __init__(self, limit: int) -> None:
        self.table = HeaderTable()
        self._limit = limit

    def read(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """The fields of a whole block. Raises HPACKError, after which there is no reading on."""
        fields: list[tuple[bytes, bytes]] = []
        table, position, size = self.table, 0, 0
        while position < len(block):
            first = block[position]
            if first >= _INDEXED:
                index, position = _integer(block, position, 0x7F)
                field = table.get_by_index(index)
            elif first >= _LITERAL_ADDED:
                field, position = self._literal(block, position, 0x3F)
                table.add(*field)
            elif first >= _TABLE_SIZE:
                if fields:
                    raise HPACKDecodingError("a size of the table behind fields")
                position = self._resize(block, position)
                continue
            else:
                field, position = self._literal(block, position, 0x0F)
            fields.append(field)
            size += len(field[0]) + len(field[1]) + _OVERHEAD
            if size > self._limit:
                raise OversizedHeaderListError(f"a list larger than {self._limit} bytes")
        return fields

    def _literal(self, block: bytes, position: int, mask: int) -> tuple[tuple[bytes, bytes], int]:
        index, position = _integer(block, position, mask)
        if index:
            name = self.table.get_by_index(index)[0]
        else:
            name, position = _text(block, position)
        value, position = _text(block, position)
        return (name, value), position

    def _resize(self, block: bytes, position: int) -> int:
        size, position = _integer(block, position, 0x1F)
        if size > HeaderTable.DEFAULT_SIZE:
            raise InvalidTableSizeError("a table larger than it may be")
        self.table.maxsize = size
        return position


def _integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
    """A number that begins in the bits of a mask, and the position behind it."""
    if position >= len(block):
        raise HPACKDecodingError("the block ends inside a field")
    number = block[position] & mask
    position += 1
    if number < mask:
        return number, position
    for shift, byte in enumerate(block[position : position + _INTEGER_BYTES - 1]):
        number += (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return number, position + shift + 1
    raise HPACKDecodingError("a number without an end")


def _text(block: bytes, position: int) -> tuple[bytes, int]:
    """A text and the position behind it."""
    length, start = _integer(block, position, 0x7F)
    end = start + length
    if end > len(block):
        raise HPACKDecodingError("the block ends inside a text")
    text = block[start:end]
    return (decode_huffman(text) if block[position] & _HUFFMAN else text), end
