from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.image.challenge import Challenge, parse, scopes


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (
            'Bearer realm="https://a.example/token",service="b",scope="repository:c/d:pull,push"',
            [
                (
                    "bearer",
                    {"realm": "https://a.example/token", "service": "b", "scope": "repository:c/d:pull,push"},
                )
            ],
        ),
        (
            'Basic realm="x, y", Bearer realm=https://a/b',
            [("basic", {"realm": "x, y"}), ("bearer", {"realm": "https://a/b"})],
        ),
        ('BASIC Realm="a\\"b\\\\"', [("basic", {"realm": 'a"b\\'})]),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("Basic", [("basic", {})]),
        (', ,Basic realm = "q" ,\tcharset=UTF-8,', [("basic", {"realm": "q", "charset": "UTF-8"})]),
        ('Basic realm="first", realm="second"', [("basic", {"realm": "first"})]),
        ("", []),
        ('Bearer realm="unterminated', [("bearer", {})]),
        ("=,=", []),
    ],
)
def test_challenges_are_read(header: str, found: list[tuple[str, dict[str, str]]]) -> None:
    assert [(each.scheme, each.parameters) for each in parse([header])] == found


def test_a_bare_word_after_the_scheme_is_no_parameter() -> None:
    assert parse(["Negotiate abcd==, Basic realm=x"]) == (
        Challenge("negotiate", {}, "abcd=="),
        Challenge("basic", {"realm": "x"}),
    )


def test_several_header_lines_are_one_list() -> None:
    assert [each.scheme for each in parse(["Basic realm=a", "Bearer realm=b"])] == ["basic", "bearer"]


def test_scopes_are_separated_by_spaces() -> None:
    challenge = parse(['Bearer realm="a",scope="repository:a:pull repository:b:pull"'])[0]
    assert scopes(challenge) == ("repository:a:pull", "repository:b:pull")


_token = st.text(alphabet="abcXYZ019-_.", min_size=1, max_size=8)
_value = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=16)
_challenges = st.lists(
    st.tuples(_token, st.dictionaries(_token.map(str.lower), _value, max_size=3)), max_size=3
)


def written(offered: list[tuple[str, dict[str, str]]]) -> str:
    parts = []
    for scheme, parameters in offered:
        quoted = [
            '{}="{}"'.format(name, value.replace("\\", "\\\\").replace('"', '\\"'))
            for name, value in parameters.items()
        ]
        parts.append(f"{scheme} {', '.join(quoted)}".strip())
    return ", ".join(parts)


@given(_challenges)
def test_what_is_written_by_the_rules_is_read_back(offered: list[tuple[str, dict[str, str]]]) -> None:
    found = [(each.scheme, dict(each.parameters)) for each in parse([written(offered)])]
    assert found == [(scheme.lower(), parameters) for scheme, parameters in offered]


@given(st.text(max_size=200) | st.text(alphabet='ab=," \\', max_size=200))
def test_any_header_is_read_without_an_error(header: str) -> None:
    for challenge in parse([header]):
        assert challenge.scheme
