"""Header blocks as we read them, beside hpack's own reader."""

from __future__ import annotations

from hpack import Decoder, Encoder, HPACKError, OversizedHeaderListError
from hypothesis import given
from hypothesis import strategies as st

from cloche.wire.http2_fields import FieldReader

LIMIT = 500
NAMES = st.sampled_from([b":path", b"user-agent", b"te", b"x-one", b"grpc-timeout"])
LISTS = st.lists(st.tuples(NAMES, st.binary(max_size=200)), max_size=8)
BYTES = st.lists(
    st.one_of(st.binary(max_size=20), st.sampled_from([b"\x82", b"\x40\x01a\x01b", b"\xbe", b"\x3f\xe1\x1f"]))
)


def _both(blocks: list[bytes]) -> None:
    theirs, ours = Decoder(max_header_list_size=LIMIT), FieldReader(LIMIT)
    for block in blocks:
        wanted, found = _outcome(theirs, block), _outcome(ours, block)
        assert found == wanted
        if not isinstance(wanted, list):
            return
        assert ours.table.dynamic_entries == theirs.header_table.dynamic_entries


def _outcome(reader: Decoder | FieldReader, block: bytes) -> list[tuple[bytes, bytes]] | str:
    try:
        if isinstance(reader, FieldReader):
            return reader.read(block)
        return [(bytes(name), bytes(value)) for name, value in reader.decode(block, raw=True)]
    except OversizedHeaderListError:
        return "too large"
    except HPACKError:
        return "refused"


@given(st.lists(st.tuples(LISTS, st.booleans(), st.sampled_from([None, 0, 100, 4096]))))
def test_what_hpack_writes_is_read_as_hpack_reads_it(
    lists: list[tuple[list[tuple[bytes, bytes]], bool, int | None]],
) -> None:
    encoder = Encoder()
    blocks = []
    for fields, huffman, size in lists:
        if size is not None:
            encoder.header_table_size = size
        blocks.append(encoder.encode(fields, huffman=huffman))
    _both(blocks)


@given(st.lists(BYTES.map(b"".join), max_size=5))
def test_any_bytes_are_read_or_refused_as_by_hpack(blocks: list[bytes]) -> None:
    _both(blocks)


def test_a_number_without_an_end_is_refused() -> None:
    _both([b"\xff" + b"\x80" * 30])
    _both([b"\x3f" + b"\xff" * 8 + b"\x01"])


def test_a_table_larger_than_was_allowed_is_refused() -> None:
    _both([b"\x3f\xe2\x1f"])
