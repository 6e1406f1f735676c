"""Decompression: every format, whole or damaged, and bounded in memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
from collections.abc import Callable

import pytest
import zstandard

from cloche.errors import ClocheError, DataLoss, InvalidArgument
from cloche.image import compression

FORMS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
DATA = os.urandom(200_000) + b"abc" * 200_000


def read_all(data: bytes, step: int = 1 << 18) -> bytes:
    stream = compression.opened(io.BytesIO(data), name="test")
    pieces = []
    while piece := stream.read(step):
        assert len(piece) <= step
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("kind", FORMS)
def test_every_format_is_told_by_its_first_bytes(kind: str) -> None:
    data = FORMS[kind](DATA)
    assert compression.opened(io.BytesIO(data), name="test").kind == kind
    assert read_all(data) == DATA
    assert read_all(data, 1000) == DATA


@pytest.mark.parametrize("kind", FORMS)
def test_several_members_in_a_row_are_one_stream(kind: str) -> None:
    assert read_all(FORMS[kind](b"first ") + FORMS[kind](b"second")) == b"first second"


def test_a_gzip_file_of_a_thousand_members_is_read() -> None:
    """As eStargz writes layers: one member a file."""
    pieces = [os.urandom(300) for _ in range(1000)]
    assert read_all(b"".join(map(gzip.compress, pieces))) == b"".join(pieces)


def test_short_and_empty_streams_are_plain() -> None:
    assert read_all(b"") == b""
    assert read_all(b"\x1f") == b"\x1f"


@pytest.mark.parametrize("kind", [kind for kind in FORMS if kind != "plain"])
def test_a_cut_stream_is_data_loss_wherever_it_is_cut(kind: str) -> None:
    data = FORMS[kind](DATA)
    places = [*range(6, 40), *range(1000, len(data), 9001), *range(len(data) - 12, len(data))]
    for place in places:
        with pytest.raises(DataLoss, match=f"test: the {kind} data"):
            read_all(data[:place])


@pytest.mark.parametrize("kind", [kind for kind in FORMS if kind != "plain"])
def test_damaged_streams_raise_nothing_but_our_errors(kind: str) -> None:
    data = FORMS[kind](DATA[:30_000])
    refused = 0
    for place in range(6, len(data), 499):
        damaged = bytearray(data)
        damaged[place] ^= 0x55
        try:
            read_all(bytes(damaged))
        except DataLoss:
            refused += 1
    assert refused > 40


def test_formats_that_are_not_asked_for_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="compressed with xz"):
        compression.opened(io.BytesIO(lzma.compress(b"x")), name="test", only=("gzip", "plain"))


def test_xz_and_zstd_may_not_ask_for_gigabytes() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}]
    with pytest.raises(DataLoss):
        read_all(lzma.compress(b"x" * 1000, filters=filters))
    parameters = zstandard.ZstdCompressionParameters(window_log=28)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(DataLoss):
        read_all(compressor.compress(b"x") + compressor.flush())


def test_errors_of_the_source_are_not_taken_for_damage() -> None:
    class Broken:
        def read(self, size: int, /) -> bytes:
            raise ConnectionResetError("gone")

    class Refused:
        def __init__(self) -> None:
            self._data = io.BytesIO(gzip.compress(DATA)[:1000])

        def read(self, size: int, /) -> bytes:
            data = self._data.read(min(size, 100))
            if not data:
                raise ClocheError("the source's own")
            return data

    with pytest.raises(ConnectionResetError):
        compression.opened(Broken(), name="test")
    stream = compression.opened(Refused(), name="test")
    with pytest.raises(ClocheError, match="own"):
        list(iter(stream.read, b""))


def test_gzip_works_without_isal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal.igzip", None)
    assert read_all(gzip.compress(DATA)) == DATA
    with pytest.raises(DataLoss):
        read_all(gzip.compress(DATA)[:-5])
