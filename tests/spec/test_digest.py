from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.spec import digest

HELLO = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def test_the_digest_of_known_bytes() -> None:
    assert digest.of(b"hello") == HELLO
    assert digest.of(b"hello", "sha512") == "sha512:" + hashlib.sha512(b"hello").hexdigest()


def test_parse_splits_algorithm_and_digits() -> None:
    assert digest.parse(HELLO) == ("sha256", HELLO[7:])
    assert digest.validate(HELLO) is HELLO


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "algorithm:hex"),
        (HELLO[7:], "algorithm:hex"),
        ("md5:" + "0" * 32, "unknown algorithm"),
        ("SHA256:" + "0" * 64, "unknown algorithm"),
        ("sha256:" + "0" * 63, "64 digits, not 63"),
        ("sha512:" + "0" * 64, "128 digits"),
        ("sha256:" + "A" * 64, "lower-case"),
        ("sha256:" + "../" * 21 + "0", "lower-case"),
        ("sha256:" + "٣" * 64, "lower-case"),
        ("sha256:" + "0" * 63 + "\n", "lower-case"),
    ],
)
def test_what_is_no_digest_is_refused_with_a_reason(text: str, complaint: str) -> None:
    with pytest.raises(InvalidArgument, match=complaint):
        digest.parse(text)


@given(st.binary(max_size=1000), st.sampled_from(sorted(digest.HEX_LENGTHS)))
def test_every_digest_made_is_one_that_parses(data: bytes, algorithm: str) -> None:
    parsed, digits = digest.parse(digest.of(data, algorithm))
    assert parsed == algorithm
    assert digits == hashlib.new(algorithm, data).hexdigest()


@given(st.text() | st.from_regex(r"sha(256|512):[0-9a-fA-F./]*", fullmatch=True))
def test_any_text_is_either_a_safe_digest_or_refused(text: str) -> None:
    try:
        algorithm, digits = digest.parse(text)
    except InvalidArgument as error:
        complaint = str(error)
        assert "\n" not in complaint
    else:
        assert f"{algorithm}:{digits}" == text
        assert set(digits) <= set("0123456789abcdef")


def test_a_small_digest_does_not_load_openssl() -> None:
    code = (
        "import sys; sys.path = sys.argv[1:]; from cloche.spec import digest;"
        "digest.of(b'x'); sys.exit('hashlib' in sys.modules)"
    )
    subprocess.run([sys.executable, "-I", "-c", code, *sys.path], check=True)
