"""`fsck`: damage in the stores, one line each, and its repair."""

from __future__ import annotations

from cloche.cli.arguments import Command
from cloche.cli.output import line, one_line, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cloche.cli.arguments import Parsed
    from cloche.cli.session import Session
    from cloche.engine.check.finding import Finding

_HEADERS = {
    "Kind": "KIND",
    "Subject": "SUBJECT",
    "Problem": "PROBLEM",
    "Remedy": "REMEDY",
    "ByHand": "BY HAND",
    "Repaired": "REPAIRED",
}
_CLEAR_LINE = "\r\x1b[K"


def _fsck(session: Session, parsed: Parsed) -> int:
    import os

    form = parsed.text("format")
    repair = parsed.on("repair")
    watched = os.isatty(2)
    found = []
    for finding in session.engine.check(repair=repair, watch=_watcher() if watched else None):
        found.append(finding)
        if watched:
            write(_CLEAR_LINE, 2)
        if not form:
            line(one_line(_sentence(finding, repair=repair)))
    if watched:
        write(_CLEAR_LINE, 2)
    if form:
        from cloche.cli import table

        table.show([_row(each) for each in found], _HEADERS, tuple(_HEADERS), form=form)
    return 1 if found else 0


def _sentence(finding: Finding, *, repair: bool) -> str:
    what = f"{finding.kind} {finding.subject}: {finding.problem}"
    if not finding.remedy:
        return what
    if finding.by_hand:
        return f"{what}; by hand: {finding.remedy}"
    if not repair:
        return f"{what}; --repair would {finding.remedy}"
    return f"{what}; {'repaired' if finding.repaired else 'not repaired, it is in use'}: {finding.remedy}"


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "Kind": finding.kind,
        "Subject": finding.subject,
        "Problem": finding.problem,
        "Remedy": finding.remedy,
        "ByHand": finding.by_hand,
        "Repaired": finding.repaired,
    }


def _watcher() -> Callable[[int, int], None]:
    """Shows the share of the blobs that were read, where a person is looking."""
    shown = -1

    def watch(done: int, total: int) -> None:
        nonlocal shown
        percent = min(100, 100 * done // max(1, total))
        if percent != shown:
            shown = percent
            write(f"\rreading blobs: {percent}%", 2)

    return watch


FSCK = Command(
    "[OPTIONS]",
    _fsck,
    groups=(
        (
            "Options",
            (
                ("format", "", "string", '"table", "table TEMPLATE", "json" or a Go template'),
                ("repair", "", "bool", "Mend what is found, except what is in use"),
            ),
        ),
    ),
    description=(
        "Look for damage in all that is kept, and repair it.\n"
        "Every blob is read and compared with its digest, the database is checked, and so\n"
        "is what points to nothing. The exit code is 0 where all is well, and 1 where\n"
        "something was found or repaired."
    ),
)
