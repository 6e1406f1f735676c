"""How often and how soon something that may work next time is tried again."""

from __future__ import annotations

import random
import time

from cloche.errors import Cancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading

RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_LONGEST_ASKED_PAUSE_S = 120.0


class Retries:
    """A bounded number of attempts with growing pauses between them.

    attempts: how many failures in a row are borne, the first included. cancelled: wakes a pause,
    which then raises Cancelled.
    """

    def __init__(self, attempts: int, cancelled: threading.Event) -> None:
        self.attempts = attempts
        self.failures = 0
        self._cancelled = cancelled

    def progressed(self) -> None:
        """Start counting anew: something was achieved."""
        self.failures = 0

    def again(self, asked_s: float | None = None) -> bool:
        """Note a failure, and pause where another attempt is left.

        asked_s: how long the server wants us to wait. False when there is no attempt left, or the
        server asks for more time than anyone would sit through.
        """
        self.failures += 1
        if self.failures >= self.attempts or (asked_s or 0) > _LONGEST_ASKED_PAUSE_S:
            return False
        pause_s = min(_FIRST_PAUSE_S * 2**self.failures, _LONGEST_PAUSE_S)
        # Clients that failed together must not come back together.
        pause_s *= random.uniform(0.5, 1.0)
        if self._cancelled.wait(pause_s if asked_s is None else asked_s):
            raise Cancelled("the transfer was cancelled")
        return True


def retry_after_s(value: str | None, *, now: float | None = None) -> float | None:
    """The pause a Retry-After header asks for: seconds or an HTTP date; None where unreadable.

    now: seconds since the epoch, for dates.
    """
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, moment - (time.time() if now is None else now))
