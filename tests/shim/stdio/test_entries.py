from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from cloche.shim.stdio.entries import LONGEST, cri, cut, json_file

MOMENT = "2026-01-02T03:04:05.000000006Z"


def test_lines_are_entries_and_an_open_line_waits() -> None:
    assert cut(b"one\n\ntwo\nthr") == ([(b"one", True), (b"", True), (b"two", True)], 9)


def test_a_long_line_is_cut_into_pieces_of_sixteen_kibibytes() -> None:
    line = b"x" * (2 * LONGEST + 5)
    entries, taken = cut(line + b"\n")
    assert [(len(text), whole) for text, whole in entries] == [(LONGEST, False), (LONGEST, False), (5, True)]
    assert taken == len(line) + 1
    assert cut(b"x" * LONGEST) == ([], 0)
    assert cut(b"x" * LONGEST + b"\n")[0] == [(b"x" * LONGEST, True)]


def test_no_character_is_torn() -> None:
    for shift in range(4):
        entries, _ = cut(b"x" * shift + "€".encode() * LONGEST)
        assert "".join(text.decode() for text, _ in entries).strip("x").strip("€") == ""


@given(st.lists(st.binary(max_size=40) | st.integers(0, 3 * LONGEST).map(bytes), max_size=8))
def test_nothing_is_lost_or_made_up(parts: list[bytes]) -> None:
    data = b"\n".join(parts)
    entries, taken = cut(data)
    assert b"".join(text + b"\n" * whole for text, whole in entries) == data[:taken]
    assert len(data) - taken <= LONGEST
    assert b"\n" not in data[taken:]
    assert all(len(text) <= LONGEST for text, _ in entries)


@given(st.binary(max_size=200), st.booleans())
def test_both_formats_keep_every_byte(text: bytes, whole: bool) -> None:
    text = text.replace(b"\n", b"")
    entry = json.loads(json_file("stderr", text, whole, MOMENT))
    assert entry["log"].encode("utf-8", "surrogateescape") == text + b"\n" * whole
    assert (entry["stream"], entry["time"]) == ("stderr", MOMENT)
    moment, stream, tag, rest = cri("stdout", text, whole, MOMENT).split(b" ", 3)
    assert (moment.decode(), stream, tag, rest) == (MOMENT, b"stdout", b"F" if whole else b"P", text + b"\n")
