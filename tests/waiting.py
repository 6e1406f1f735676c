"""Waiting for a condition instead of sleeping for luck."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_Value = TypeVar("_Value")

INTERVAL_S = 0.01


def wait_until(condition: Callable[[], _Value], *, timeout_s: float = 10, what: str = "") -> _Value:
    """Ask again and again until the answer is true, and return it; TimeoutError when time is up.

    what: names the condition in the error.
    """
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still waiting after {timeout_s} s for {what or condition}")
        time.sleep(INTERVAL_S)
    return answer
