"""One-time tokens: who asked the CRI for a stream comes back with one, over HTTP, and nobody else can."""

from __future__ import annotations

import secrets
from time import monotonic

from cloche.errors import ResourceExhausted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.spec.record import Record

LIFETIME_S = 60.0
LIMIT = 1000
"""Tokens that may wait to be used at once."""


class Tokens:
    """The requests that wait for their client, by token. clock: seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._waiting: dict[str, tuple[float, Record]] = {}

    def put(self, request: Record) -> str:
        """A token for a request. Raises ResourceExhausted where too many wait."""
        self._forget_expired()
        if len(self._waiting) >= LIMIT:
            raise ResourceExhausted(f"{LIMIT} streams were asked for and not begun: try again in a minute")
        token = secrets.token_urlsafe(16)
        self._waiting[token] = (self._clock() + LIFETIME_S, request)
        return token

    def take(self, token: str) -> Record | None:
        """The request of a token, once; None where it is unknown, used or expired."""
        self._forget_expired()
        _, request = self._waiting.pop(token, (0.0, None))
        return request

    def _forget_expired(self) -> None:
        now = self._clock()
        while self._waiting:
            oldest = next(iter(self._waiting))
            if self._waiting[oldest][0] > now:
                return
            del self._waiting[oldest]
