from __future__ import annotations

import urllib.parse

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.shim.stdio.uris import LOGS, PROGRAMS, Target, parse

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("", Target("")),
        ("/run/x/init-stdout", Target("fifo", "/run/x/init-stdout")),
        ("/run/100%/a?b#c", Target("fifo", "/run/100%/a?b#c")),
        ("fifo:///run/a%20b", Target("fifo", "/run/a b")),
        ("file:///var/log/x.log", Target("file", "/var/log/x.log")),
        ("binary:///l", Target("binary", "/l")),
        (
            "binary-v2:///l?a=b&c&d=e%26f+g",
            Target("binary-v2", "/l", (("a", "b"), ("c", ""), ("d", "e&f g"))),
        ),
        ("json-file:///l?max-size=1m", Target("json-file", "/l", (("max-size", "1m"),))),
        ("attach://", Target("attach")),
    ],
)
def test_what_a_uri_means(uri: str, target: Target) -> None:
    assert parse(uri) == target


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("relative/path", "must be absolute"),
        ("file://relative/path", "must be absolute"),
        ("binary://", "must be absolute"),
        ("npipe:////./pipe/x", "unknown scheme"),
        ("stream://x", "unknown scheme"),
        ("file:///a%zz", "two hexadecimal digits"),
        ("file:///a%2", "two hexadecimal digits"),
        ("file:///a%+1", "two hexadecimal digits"),
        ("/a\0b", "NUL"),
        ("file:///a%00b", "NUL"),
        ("binary:///a?b%00=c", "NUL"),
        ("attach:///x", "takes no path"),
    ],
)
def test_what_makes_no_sense_is_refused(uri: str, complaint: str) -> None:
    with pytest.raises(InvalidArgument, match=complaint):
        parse(uri)


@given(
    scheme=st.sampled_from(["file", *PROGRAMS, *LOGS[:2]]),
    path=TEXT,
    options=st.dictionaries(TEXT.filter(bool), TEXT, max_size=4),
)
def test_what_was_escaped_comes_out_as_it_went_in(scheme: str, path: str, options: dict[str, str]) -> None:
    uri = f"{scheme}:///{urllib.parse.quote(path)}?{urllib.parse.urlencode(options)}"
    assert parse(uri) == Target(scheme, f"/{path}", tuple(options.items()))


@given(st.text(max_size=60))
@example("file:///\udc80%80")
@example("binary:///\ud800?%")
def test_any_text_is_a_target_or_refused(text: str) -> None:
    for uri in (text, f"file:///{text}", f"binary:///x?{text}"):
        try:
            target = parse(uri)
        except InvalidArgument:
            continue
        assert target.path.startswith("/") or target.scheme in ("", "attach")
