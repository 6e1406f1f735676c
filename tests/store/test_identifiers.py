from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.store.identifiers import validate_identifier, validate_name

# containerd's own expression, from its documentation of namespaces
CONTAINERD = re.compile(r"[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*")


@pytest.mark.parametrize("text", ["default", "k8s.io", "a", "A-b_c.d", "0" * 76])
def test_what_containerd_takes_is_taken(text: str) -> None:
    assert validate_identifier(text, "namespace") == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a/b",
        "../../etc",
        "-a",
        "a-",
        "a..b",
        "a b",
        "a\n",
        "a\0",
        "ä",
        "٣",
        "a" * 77,
        "x" * 2000,
    ],
)
def test_what_could_harm_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidArgument, match="container id") as refusal:
        validate_identifier(text, "container id")
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 200


@given(st.text(max_size=100) | st.from_regex(r"[A-Za-z0-9._-]{0,90}", fullmatch=True))
def test_identifiers_are_exactly_those_of_containerd(text: str) -> None:
    allowed = CONTAINERD.fullmatch(text) is not None and len(text) <= 76
    try:
        validate_identifier(text, "namespace")
    except InvalidArgument:
        assert not allowed
    else:
        assert allowed


@given(st.text(st.characters(), max_size=50))
def test_a_name_is_any_text_that_can_be_kept(text: str) -> None:
    try:
        validate_name(text, "snapshot key")
    except InvalidArgument:
        assert not text or "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text)
    else:
        assert text.encode()


def test_a_name_has_an_end() -> None:
    assert validate_name("ä" * 2048, "image name")
    with pytest.raises(InvalidArgument, match="4098 bytes"):
        validate_name("ä" * 2049, "image name")
