"""What a validation program said: the Test Anything Protocol, counted."""

from __future__ import annotations

import re
from typing import NamedTuple

_LINE = re.compile(
    r"(?P<result>ok|not ok)\b[ \d]*(?:- )?(?P<words>[^#]*)(?P<directive>#\s*(?:skip|todo))?", re.I
)
_PLAN = re.compile(r"1\.\.(?P<count>\d+)\s*(?P<skipped>#\s*skip)?", re.I)


class Outcome(NamedTuple):
    """How one program ended. first_failure: in its own words, or empty."""

    passed: int
    failed: int
    skipped: int
    status: int | None
    first_failure: str

    @property
    def verdict(self) -> str:
        """pass, fail, or empty where it asserted nothing: then it shows nothing either."""
        if self.failed or self.status != 0:
            return "fail"
        return "pass" if self.passed else "empty"


def outcome(text: str, errors: str, status: int | None) -> Outcome:
    """Count the results in a program's output.

    text: standard output. errors: standard error, quoted where no result failed but the program did.
    status: exit status, None when its time was over. Indented lines belong to a result's
    diagnostics, not to the protocol.
    """
    passed, failed, skipped = 0, [], 0
    plan = None
    for line in text.splitlines():
        if found := _PLAN.match(line):
            plan = int(found["count"])
        elif found := _LINE.match(line):
            if found["directive"]:
                skipped += 1
            elif found["result"].lower() == "ok":
                passed += 1
            else:
                failed.append(found["words"].strip() or "a result without a name")
    if plan and passed + skipped + len(failed) < plan:
        failed.append(f"{plan} results planned, {passed + skipped + len(failed)} given")
    first = failed[0] if failed else ""
    if status is None:
        first = first or "its time was over"
    elif status:
        first = first or next(iter(errors.strip().splitlines()), f"exit status {status}")
    return Outcome(passed, len(failed), skipped, status, first)
