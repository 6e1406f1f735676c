"""NRI's multiplexer: what is sent comes out the same, however it is cut on the way."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.wire import nri_mux, ttrpc

PAYLOADS = st.lists(st.tuples(st.integers(0, (1 << 32) - 1), st.binary(max_size=60)), max_size=6)


@given(PAYLOADS, st.lists(st.integers(1, 40), max_size=20))
def test_payloads_are_the_same_however_their_bytes_arrive(
    payloads: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    data = b"".join(nri_mux.encode(connection, payload) for connection, payload in payloads)
    decoder = nri_mux.Decoder()
    found = []
    for cut in [*cuts, len(data)]:
        found += decoder.feed(data[:cut])
        data = data[cut:]
    assert found == payloads


@given(st.integers(0, 3 * 4096))
def test_a_frame_comes_in_two_payloads_at_most_of_which_the_first_fits_into_4_kib(size: int) -> None:
    frame = bytes(size)
    found = nri_mux.Decoder().feed(nri_mux.encode(nri_mux.PLUGIN, frame))
    assert b"".join(payload for _, payload in found) == frame
    assert len(found) <= 2
    assert len(found[0][1]) <= 4096


@given(st.lists(st.binary(max_size=64), max_size=10))
def test_noise_is_payloads_or_a_protocol_error(parts: list[bytes]) -> None:
    decoder = nri_mux.Decoder()
    with contextlib.suppress(nri_mux.ProtocolError):
        for part in parts:
            decoder.feed(part)


def test_the_longest_frame_of_ttrpc_passes_and_nothing_longer() -> None:
    frame = ttrpc.encode(1, ttrpc.REQUEST, bytes(ttrpc.MESSAGE_LIMIT))
    assert nri_mux.Decoder().feed(nri_mux.encode(nri_mux.RUNTIME, frame))
    with pytest.raises(nri_mux.ProtocolError, match="at most"):
        nri_mux.encode(nri_mux.RUNTIME, frame + b"x")
    with pytest.raises(nri_mux.ProtocolError, match="at most"):
        nri_mux.Decoder().feed(struct.pack(">II", 1, len(frame) + 1))
