"""Signals by name or number, as users write them."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # has no stubs

from cloche.errors import InvalidArgument

_HIGHEST = 64


def number_of(signal: str | int) -> int:
    """`KILL`, `SIGKILL`, `kill`, `9`, `RTMIN+3` as a number. Raises InvalidArgument."""
    if isinstance(signal, int):
        number = signal
    elif signal.strip().isdigit():
        number = int(signal)
    else:
        number = _named(signal)
    if not 0 < number <= _HIGHEST:
        raise InvalidArgument(f"invalid signal {signal!r}: there is none of that name or number")
    return number


def _named(text: str) -> int:
    word = text.strip().upper().removeprefix("SIG")
    base, sign, offset = word.partition("+") if "+" in word else word.partition("-")
    if base in ("RTMIN", "RTMAX") and (not sign or offset.isdigit()):
        shift = int(offset or 0)
        return 34 + shift if base == "RTMIN" else _HIGHEST - shift
    if word in ("RTMIN", "RTMAX") or word.startswith("_"):
        return 0
    number = getattr(_signal, f"SIG{word}", 0)
    return int(number) if isinstance(number, int) else 0


def name_of(number: int) -> str:
    """`SIGKILL` for 9; the number itself where it has no name."""
    for name in dir(_signal):
        if name.startswith("SIG") and name[3] != "_" and getattr(_signal, name) == number:
            return name
    return str(number)
