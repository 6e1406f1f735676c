"""Header blocks: ours are read by hpack, those of hpack by us."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from cloche.wire.http2_frames import ConnectionFailure
from cloche.wire.http2_headers import Head, Reader, encode

NAMES = st.sampled_from([b"x-name", b"te", b"grpc-timeout", b"user-agent", b"content-type", b"x" * 300])
FIELDS = st.lists(
    st.tuples(NAMES, st.binary(max_size=400).map(lambda value: value.hex().encode())), max_size=8
)
PSEUDO = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b":authority", b"localhost")]


@given(FIELDS)
def test_what_we_write_is_what_hpack_reads(fields: list[tuple[bytes, bytes]]) -> None:
    decoded = Decoder().decode(encode([*PSEUDO, (b":status", b"404"), *fields]), raw=True)
    assert [tuple(field) for field in decoded] == [*PSEUDO, (b":status", b"404"), *fields]


@given(st.lists(FIELDS, max_size=6), st.booleans())
def test_what_hpack_writes_we_read_however_its_table_changes(
    blocks: list[list[tuple[bytes, bytes]]], huffman: bool
) -> None:
    encoder, reader = Encoder(), Reader()
    for fields in [*blocks, *blocks]:
        head = reader.read(encoder.encode([*PSEUDO, *fields], huffman=huffman))
        assert list(head.pseudo.items()) == PSEUDO
        assert head.fields == fields


def test_a_block_that_comes_again_is_not_read_again() -> None:
    encoder, reader = Encoder(), Reader()
    reader.read(encoder.encode(PSEUDO))
    block = encoder.encode(PSEUDO)
    assert reader.read(block) is reader.read(block)


def test_a_block_means_something_else_once_the_table_has_changed() -> None:
    reader = Reader()
    reader.read(b"\x40\x01a\x011")
    first = reader.read(b"\xbe")
    assert first.fields == [(b"a", b"1")]
    reader.read(b"\x40\x01a\x012")
    assert reader.read(b"\xbe").fields == [(b"a", b"2")]
    assert reader.read(b"\x20").fields == []
    with pytest.raises(ConnectionFailure):
        reader.read(b"\xbe")


@given(st.lists(st.binary(max_size=100), max_size=10))
def test_no_block_whatsoever_is_worse_than_refused(blocks: list[bytes]) -> None:
    reader = Reader()
    for block in blocks:
        try:
            head = reader.read(block)
        except ConnectionFailure:
            return
        assert isinstance(head, Head)
        head.request_fault()
        head.response_fault()
