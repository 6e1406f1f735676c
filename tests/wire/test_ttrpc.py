"""ttrpc's frames, and how they survive being cut anywhere."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche import errors
from cloche.wire import ttrpc
from cloche.wire.messages.google import Any
from cloche.wire.status import CODES, StatusError, error_of, status_of

FRAMES = st.lists(
    st.tuples(
        st.integers(0, (1 << 32) - 1), st.integers(0, 255), st.binary(max_size=40), st.integers(0, 255)
    ),
    max_size=5,
)


@given(FRAMES, st.lists(st.integers(1, 30), max_size=20))
def test_frames_are_the_same_however_their_bytes_arrive(
    frames: list[tuple[int, int, bytes, int]], cuts: list[int]
) -> None:
    data = b"".join(ttrpc.encode(s, kind, payload, flags=flags) for s, kind, payload, flags in frames)
    decoder = ttrpc.Decoder()
    found = []
    for cut in [*cuts, len(data)]:
        found += decoder.feed(data[:cut])
        data = data[cut:]
    assert [(f.stream, f.kind, f.payload, f.flags) for f in found] == frames


@given(st.lists(st.binary(max_size=64), max_size=10))
def test_noise_is_frames_or_a_protocol_error(parts: list[bytes]) -> None:
    decoder = ttrpc.Decoder()
    with contextlib.suppress(ttrpc.ProtocolError):
        for part in parts:
            decoder.feed(part)


def test_an_absurd_length_is_refused_at_its_header() -> None:
    header = struct.pack(">IIBB", ttrpc.MESSAGE_LIMIT + 1, 1, ttrpc.REQUEST, 0)
    with pytest.raises(ttrpc.ProtocolError, match="at most"):
        ttrpc.Decoder().feed(header)
    with pytest.raises(ttrpc.ProtocolError, match="at most"):
        ttrpc.encode(1, ttrpc.RESPONSE, bytes(ttrpc.MESSAGE_LIMIT + 1))


@pytest.mark.parametrize("kind", CODES)
def test_an_error_that_travels_comes_out_as_it_went_in(kind: type[errors.ClocheError]) -> None:
    arrived = error_of(status_of(kind("the task 'web' is gone")))
    assert (type(arrived), str(arrived)) == (kind, "the task 'web' is gone")


def test_an_error_with_details_keeps_them() -> None:
    detail = Any(type_url="example", value=b"1")
    arrived = error_of(status_of(StatusError(2, "no", [detail])))
    assert isinstance(arrived, StatusError)
    assert (arrived.code, list(arrived.details)) == (2, [detail])


def test_what_nobody_foresaw_is_called_internal() -> None:
    status = status_of(ZeroDivisionError("division by zero"))
    assert (status.code, "ZeroDivisionError" in status.message) == (13, True)
