from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.shim import frames


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=100))), st.integers(1, 40))
def test_frames_arrive_whole_however_they_are_cut(sent: list[tuple[int, bytes]], size: int) -> None:
    data = b"".join(frames.encode(kind, payload) for kind, payload in sent)
    decoder, received = frames.Decoder(), []
    for at in range(0, len(data), size):
        received += decoder.feed(data[at : at + size])
    assert received == sent


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_a_value_error(data: bytes) -> None:
    try:
        frames.Decoder().feed(data)
    except ValueError:
        pass


def test_a_frame_that_is_too_long_is_refused_before_it_arrives() -> None:
    with pytest.raises(ValueError, match="2147483648"):
        frames.Decoder().feed(b"\x02\x80\x00\x00\x00")
