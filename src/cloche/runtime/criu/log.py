"""Why criu failed: its own words, from its log, and what to do about them."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_MARK = b"Error ("
_LONGEST_REASON = 300

# A word of criu's -> what to do. Where a flag would help criu names it, and ours are called the same.
_ADVICE = (
    (
        "vdso",
        "this criu is older than kernel {kernel}: install a newer one (from its sources, or a backport)",
    ),
    ("No mapping for", "the bundle's mounts must be those that the container was checkpointed with"),
    ("iptables", "criu holds connections back with it: install iptables, or the package nftables"),
)


# What criu tries, calls an error, and does without.
_HARMLESS = ("rlimit: Can't setup", "tun: Unable to create tun")


def first_error(lines: Iterable[bytes]) -> str:
    """The first error in a log, empty where it has none: those after it are mostly its consequences."""
    for line in lines:
        _, found, rest = line.partition(_MARK)
        # (00.013248) Error (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds
        _, ended, text = rest.partition(b"): ")
        words = " ".join(text.decode(errors="replace").split())
        if found and ended and words and not words.startswith(_HARMLESS):
            return words[:_LONGEST_REASON]
    return ""


def reason(path: str, said: str) -> str:
    """What went wrong, in one line, with advice and the log's place.

    path: the log, which need not be there. said: what criu itself answered, may be empty.
    """
    try:
        with open(path, "rb") as file:
            why = first_error(file) or said
        where = f" (criu's log: {path})"
    except OSError:
        why, where = said, ""
    why = " ".join(why.split())[:_LONGEST_REASON] or "it does not say why"
    todo = next((todo for word, todo in _ADVICE if word in why), "")
    todo = f": {todo.format(kernel=os.uname().release)}" if todo else ""
    return f"{why}{todo}{where}"
