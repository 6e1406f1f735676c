"""Messages of DNS: what a container sends is hostile until it was read."""

from __future__ import annotations

import socket
from struct import pack, unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.network import dns


def query(name: str, kind: int = dns.A, *, number: int = 7, flags: int = 0x100) -> bytes:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split(".") if label)
    return pack(">6H", number, flags, 1, 0, 0, 0) + labels + b"\0" + pack(">2H", kind, 1)


def test_a_question_is_read_and_answered() -> None:
    asked = query("Web.mine")
    question = dns.parse(asked)
    assert question is not None
    assert (question.number, question.name, question.kind) == (7, "web.mine", dns.A)
    answer = dns.answer(asked, question, [socket.inet_aton("10.0.0.2")], ttl_s=5)
    number, flags, questions, answers, _, _ = unpack(">6H", answer[:12])
    assert (number, questions, answers) == (7, 1, 1)
    assert flags & 0x8000
    assert answer.endswith(pack(">HHIH", dns.A, 1, 5, 4) + bytes((10, 0, 0, 2)))
    failed = dns.failure(asked, question, dns.NO_SUCH_NAME)
    assert failed[3] & 15 == 3


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("2.0.0.10.in-addr.arpa", "10.0.0.2"),
        ("10.in-addr.arpa", ""),
        ("1." + "0." * 30 + "f.ip6.arpa", "f000:0000:0000:0000:0000:0000:0000:0001"),
        ("web", ""),
    ],
)
def test_a_name_that_stands_for_an_address_is_known(name: str, address: str) -> None:
    question = dns.parse(query(name, dns.PTR))
    assert question is not None
    assert question.reverse == address


@pytest.mark.parametrize(
    "data",
    [
        b"",
        query("web")[:20],
        query("web", flags=0x8000),
        query("web", flags=0x2800),
        pack(">6H", 1, 0x100, 2, 0, 0, 0) + b"\0\0\1\0\1",
        pack(">6H", 1, 0x100, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1",
        query(".".join(["a" * 60] * 5)),
    ],
)
def test_what_is_no_question_is_left_alone(data: bytes) -> None:
    assert dns.parse(data) is None


@given(st.binary(max_size=80))
def test_any_bytes_are_a_question_or_none(data: bytes) -> None:
    for asked in (data, query("web")[:12] + data):
        question = dns.parse(asked)
        if question is not None:
            assert dns.answer(asked, question, [], ttl_s=1)[:2] == asked[:2]
            assert question.end <= len(asked)
