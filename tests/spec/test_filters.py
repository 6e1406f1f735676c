"""What containerd's filters choose, and what they refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.spec import filters

THING = {"name": "docker.io/library/busybox:latest", "size": "12", "empty": ""}
LABELS = {"tier": "a b", "containerd.io/gc.root": "1", "dotted.name": "x", "quoted": 'say "hi"'}


def fields(path: tuple[str, ...]) -> str | None:
    return filters.in_map(path[1:], LABELS) if path[0] == "labels" else THING.get(path[0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name==docker.io/library/busybox:latest",
        'name=="docker.io/library/busybox:latest"',
        " name == docker.io/library/busybox:latest",
        "name,size==12",
        "labels.tier==" + '"a b"',
        'labels."containerd.io/gc.root"',
        "labels.dotted.name==x",
        r'labels.quoted=="say \"hi\""',
        "labels.absent!=x",
        "size!=13",
        "name~=busybox",
        r"name~=/^docker\\.io\/library\//",
        r"name~=|^docker[.]io/library/|",
        r'name~="^docker\\.io"',
        r'labels.tier=="\x61\040b"',
        r'labels.tier=="\u0061\U00000020b"',
    ],
)
def test_it_chooses(text: str) -> None:
    assert filters.parse([text]).matches(fields)


@pytest.mark.parametrize(
    "text", ["absent", "name==busybox", "name,size==13", "size!=12", "name~=^busybox", "labels"]
)
def test_it_leaves_out(text: str) -> None:
    assert not filters.parse([text]).matches(fields)


def test_one_of_several_is_enough_and_none_at_all_matches_everything() -> None:
    assert filters.parse(["size==1", "size==12"]).matches(fields)
    assert not filters.parse(["size==1", "size==2"]).matches(fields)
    assert filters.parse([]).matches(fields)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name=x", 'unsupported operator "="'),
        ("name===x", 'unsupported operator "==="'),
        ("name==", "expected value or quoted"),
        ("==x", "expected field or quoted"),
        ("name==/x/", "invalid quote encountered"),
        ('name=="x', "quoted literal not terminated"),
        (r'name=="\q"', "illegal escape sequence"),
        (r'name=="\x1"', "illegal numeric escape sequence"),
        ("name~=(", "is no regular expression"),
        ("name==a b", "unexpected input"),
        ("name,", "expected field or quoted"),
    ],
)
def test_it_says_where_a_filter_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match="filters") as caught:
        filters.parse([text])
    assert reason in str(caught.value)


@given(st.lists(st.text(alphabet='ab.=!~,"/|\\x0 \n1ü', max_size=20), max_size=3))
def test_whatever_comes_is_compiled_or_refused(texts: list[str]) -> None:
    try:
        compiled = filters.parse(texts)
    except InvalidArgument:
        return
    compiled.matches(fields)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_a_value_that_is_quoted_is_found_again(value: str) -> None:
    quoted = "".join(f"\\U{ord(character):08x}" for character in value)
    assert filters.parse([f'name=="{quoted}"']).matches(lambda _: value)
