"""The keys that leave a container's terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.cli import detach
from cloche.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", b""),
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("ctrl-@", b"\0"),
        ("ctrl-[,a", b"\x1ba"),
        ("ctrl-A", b"\x01"),
    ],
)
def test_key_names_are_bytes(text: str, keys: bytes) -> None:
    assert detach.parse(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-pp", "ab", "a,,b", "\u20ac", "ctrl-1"])
def test_names_of_no_keys_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="detach keys"):
        detach.parse(text)


def test_the_sequence_is_found_across_reads_and_what_precedes_it_is_passed_on() -> None:
    watch = detach.Watch(b"\x10\x11")
    assert watch.feed(b"ls\x10") == (b"ls", False)
    assert watch.feed(b"x") == (b"\x10x", False)
    assert watch.feed(b"\x10\x10") == (b"\x10", False)
    assert watch.feed(b"\x11rest") == (b"", True)


@given(st.lists(st.text("abc", max_size=4)), st.text("ab", min_size=1, max_size=3))
def test_nothing_typed_is_lost_or_doubled(typed: list[str], keys: str) -> None:
    watch = detach.Watch(keys.encode())
    passed, whole = b"", "".join(typed).encode()
    for word in typed:
        out, found = watch.feed(word.encode())
        passed += out
        if found:
            assert passed == whole[: whole.index(keys.encode())]
            return
    assert keys.encode() not in whole
    assert whole.startswith(passed)
    assert len(whole) - len(passed) < len(keys)
