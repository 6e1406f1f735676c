"""Tokens: for one use, for a minute, and only so many."""

from __future__ import annotations

import pytest

from cloche.cri.streaming.runtime import ForwardRequest
from cloche.cri.streaming.tokens import LIFETIME_S, LIMIT, Tokens
from cloche.errors import ResourceExhausted

REQUEST = ForwardRequest("pod")


def test_a_token_is_used_once() -> None:
    tokens = Tokens()
    first, second = tokens.put(REQUEST), tokens.put(REQUEST)
    assert first != second
    assert tokens.take(first) is REQUEST
    assert tokens.take(first) is None
    assert tokens.take(second) is REQUEST


def test_a_token_expires() -> None:
    now = 0.0
    tokens = Tokens(lambda: now)
    early = tokens.put(REQUEST)
    now = LIFETIME_S - 1
    late = tokens.put(REQUEST)
    now = LIFETIME_S
    assert tokens.take(early) is None
    assert tokens.take(late) is REQUEST


def test_what_nobody_gave_is_no_token() -> None:
    tokens = Tokens()
    tokens.put(REQUEST)
    assert tokens.take("") is None
    assert tokens.take("guessed") is None


def test_tokens_that_nobody_uses_make_room_when_they_expire() -> None:
    now = 0.0
    tokens = Tokens(lambda: now)
    for _ in range(LIMIT):
        tokens.put(REQUEST)
    with pytest.raises(ResourceExhausted):
        tokens.put(REQUEST)
    now = LIFETIME_S
    tokens.put(REQUEST)
