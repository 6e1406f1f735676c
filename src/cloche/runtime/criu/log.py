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


# The lines that end its look at the kernel, in which it calls an error what it merely finds out.
_WORK_BEGINS = (b"umping processes (pid", b"Reading image tree")

# What it tries, calls an error, and does without at any time.
_HARMLESS = ("rlimit: Can't setup", "tun: Unable to create tun", "exited, status=")


def first_error(lines: Iterable[bytes]) -> str:
    """The first error of the work in a log: those after it are mostly its consequences.

    Where there was no work, of the preparations; empty where there is no error at all.
    """
    early = ""
    working = False
    for line in lines:
        working = working or any(mark in line for mark in _WORK_BEGINS)
        words = _error(line)
        if words and working:
            return words
        early = early or words
    return early


def _error(line: bytes) -> str:
    """The text of an error's line, empty for any other and for what does no harm.

    (00.013248) Error (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds
    """
    _, found, rest = line.partition(_MARK)
    _, ended, text = rest.partition(b"): ")
    words = " ".join(text.decode(errors="replace").split())
    return words[:_LONGEST_REASON] if found and ended and not words.startswith(_HARMLESS) else ""


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
