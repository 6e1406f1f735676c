from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.store import labels


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_labels_come_back_as_they_were(given_labels: dict[str, str]) -> None:
    try:
        text = labels.encode(given_labels)
    except InvalidArgument:
        assert any(
            "\ud800" <= letter <= "\udfff" for pair in given_labels.items() for letter in "".join(pair)
        )
    else:
        assert labels.decode(text) == given_labels


def test_no_labels_are_the_empty_text() -> None:
    assert labels.encode(None) == labels.encode({}) == ""
    assert labels.decode("") == {}


def test_key_and_value_have_4096_bytes_together_and_no_more() -> None:
    labels.validate({"k": "v" * 4095})
    with pytest.raises(InvalidArgument, match="label 'k': key and value have 4097 bytes"):
        labels.validate({"k": "v" * 4096})
    with pytest.raises(InvalidArgument, match="must not be empty"):
        labels.validate({"": "v"})


def test_annotations_may_be_longer() -> None:
    assert labels.decode(labels.encode({"k": "v" * 9000}, limited=False)) == {"k": "v" * 9000}


def test_a_change_sets_and_removes() -> None:
    assert labels.merged({"a": "1", "b": "2", "c": "3"}, {"a": "9", "b": None, "c": ""}) == {"a": "9"}
