from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.spec.reference import Reference, parse

HEX = "a" * 64
DIGEST = f"sha256:{HEX}"

# The grammar of the distribution project, as its documentation gives it in productions.
_ALPHANUMERIC = "[a-z0-9]+"
_COMPONENT = rf"{_ALPHANUMERIC}(?:(?:[._]|__|-+){_ALPHANUMERIC})*"
_LABEL = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_TAG = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
GRAMMAR = re.compile(
    rf"(?P<domain>{_DOMAIN})/(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    rf"(?::(?P<tag>{_TAG}))?(?:@(?P<digest>sha256:[0-9a-f]{{64}}|sha512:[0-9a-f]{{128}}))?"
)


def expected(text: str) -> Reference | None:
    """What the grammar and the rules of normalisation say; None where it is no reference."""
    if re.fullmatch("[0-9a-f]{64}", text):
        return None
    first, slash, rest = text.partition("/")
    is_host = re.search("[.:]", first) or first == "localhost" or first != first.lower()
    if not slash or not is_host:
        first, rest = "docker.io", text
    if first == "index.docker.io":
        first = "docker.io"
    if first == "docker.io" and "/" not in rest.partition("@")[0]:
        rest = f"library/{rest}"
    match = GRAMMAR.fullmatch(f"{first}/{rest}")
    if match is None or len(match["path"]) > 255:
        return None
    tag = match["tag"] or ("" if match["digest"] else "latest")
    return Reference(match["domain"], match["path"], tag, match["digest"] or "")


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("me/app", "docker.io/me/app:latest"),
        ("index.docker.io/app", "docker.io/library/app:latest"),
        ("docker.io/library/app", "docker.io/library/app:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000", "docker.io/library/localhost:5000"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("[::1]:5000/app:x", "[::1]:5000/app:x"),
        ("Host/app", "Host/app:latest"),
        ("a.example/b/c/d:v1.0-rc_2", "a.example/b/c/d:v1.0-rc_2"),
        ("a--b/c__d", "docker.io/a--b/c__d:latest"),
        (f"app@{DIGEST}", f"docker.io/library/app@{DIGEST}"),
        (f"app:1@{DIGEST}", f"docker.io/library/app:1@{DIGEST}"),
    ],
)
def test_names_are_completed_as_docker_does(text: str, full: str) -> None:
    assert str(parse(text)) == full


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "empty"),
        ("Foo", "lower case: 'Foo'"),
        ("a/Foo:x", "lower case"),
        (HEX, "an id"),
        ("a:", "tag ''"),
        ("a:.b", "tag '.b'"),
        ("a:" + "b" * 129, "128 characters"),
        ("a@sha256:12", "sha256"),
        ("a@md5:" + "0" * 32, "md5"),
        ("a@", "digest"),
        ("-a", "'-a'"),
        ("a..b", "'a..b'"),
        ("a___b", "'a___b'"),
        ("a//b", "''"),
        ("/a", "''"),
        ("x.y:port/a", "port"),
        ("x..y/a", "host"),
        ("-x.y/a", "host"),
        ("[::1/a", "host"),
        ("[]:1/a", "host"),
        ("a.b/" + "c" * 256, "255 characters"),
        ("../etc/passwd", "host"),
        ("a b", "'a b'"),
        ("a\nb", "a\\nb"),
        ("http://x/y", "web address"),
    ],
)
def test_what_is_no_name_is_refused_with_the_wrong_part(text: str, part: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text)
    message = str(caught.value)
    assert part in message
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("docker.io/library/busybox:latest", "busybox:latest"),
        ("docker.io/me/app:1", "me/app:1"),
        ("localhost:5000/library/app", "localhost:5000/library/app:latest"),
        ("docker.io/library/a/b", "library/a/b:latest"),
        ("docker.io/a.b/c", "docker.io/a.b/c:latest"),
    ],
)
def test_familiar_names_are_short(text: str, short: str) -> None:
    assert parse(text).familiar() == short


_pieces = st.text(alphabet="aZ09._-:/@[]é \n", max_size=24) | st.from_regex(GRAMMAR, fullmatch=True)


@given(_pieces)
def test_the_parser_agrees_with_the_grammar(text: str) -> None:
    wanted = expected(text)
    try:
        found = parse(text)
    except InvalidArgument:
        found = None
    assert found == wanted


@given(st.from_regex(GRAMMAR, fullmatch=True))
def test_what_is_written_is_read_back(text: str) -> None:
    try:
        reference = parse(text)
    except InvalidArgument:
        return
    assert parse(str(reference)) == reference
    assert parse(reference.familiar()) == reference
