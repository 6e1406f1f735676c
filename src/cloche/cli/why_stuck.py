"""`why-stuck`: what the processes of a container wait for, and what would free them."""

from __future__ import annotations

from cloche.cli import table
from cloche.cli.arguments import Command
from cloche.cli.output import line, one_line, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.cli.arguments import Parsed
    from cloche.cli.session import Session
    from cloche.engine.stuck.findings import Finding

_HEADERS = {
    "Command": "COMMAND",
    "HeldBy": "HELD BY",
    "Name": "NAME",
    "PID": "PID",
    "Remedy": "FREED BY",
    "Stack": "KERNEL STACK",
    "State": "STATE",
    "Stuck": "STUCK",
    "TID": "TID",
    "WaitsFor": "WAITS FOR",
    "Wchan": "WAIT CHANNEL",
}
_DEFAULT = ("PID", "Name", "State", "WaitsFor", "HeldBy", "Remedy")
_FRAMES_SHOWN = 8
# Around every system call, and so of no interest.
_ENTRIES = ("do_syscall", "entry_SYSCALL", "el0", "invoke_syscall", "__x64_sys_", "__arm64_sys_", "ksys_")


def _why_stuck(session: Session, parsed: Parsed) -> int:
    findings = session.engine.why_stuck(parsed.arguments[0])
    stuck = [finding for finding in findings if finding.stuck]
    # What has a remedy is worth knowing, even if nothing waits for it yet.
    worth = [finding for finding in findings if finding.stuck or finding.remedy]
    chosen = findings if parsed.on("all") or not stuck else worth
    form = parsed.text("format")
    if form:
        write(table.rendered([_row(finding) for finding in chosen], _HEADERS, _DEFAULT, form=form))
        return 0
    if not stuck:
        line("nothing is stuck: every process waits for what programs wait for")
    write(table.aligned([["PID", "NAME", "STATE", "WAITS FOR"], *(_cells(finding) for finding in chosen)]))
    for finding in chosen:
        if finding.stuck or finding.remedy:
            write(_details(finding))
    return 0


def _cells(finding: Finding) -> list[str]:
    number = str(finding.tid) if finding.pid else "-"
    return [number, *(one_line(word) or "-" for word in (finding.name, finding.state, finding.waits_for))]


def _details(finding: Finding) -> str:
    """The lines below the table about one that is stuck; none where there is nothing to add."""
    inner = [frame for frame in finding.stack if not frame.startswith(_ENTRIES)]
    frames = " < ".join(inner[:_FRAMES_SHOWN]) or finding.wchan
    words = {
        "command": finding.command,
        "kernel": frames,
        "held by": finding.holder,
        "freed by": finding.remedy,
    }
    lines = [f"  {name + ':':<10}{one_line(value)}\n" for name, value in words.items() if value]
    title = f"{finding.tid} ({finding.name})" if finding.pid else finding.name
    return f"\n{one_line(title)}: {one_line(finding.waits_for)}\n" + "".join(lines)


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "Command": finding.command,
        "HeldBy": finding.holder,
        "Name": finding.name,
        "PID": finding.pid,
        "Remedy": finding.remedy,
        "Stack": list(finding.stack),
        "State": finding.state,
        "Stuck": finding.stuck,
        "TID": finding.tid,
        "WaitsFor": finding.waits_for,
        "Wchan": finding.wchan,
    }


WHY_STUCK = Command(
    "[OPTIONS] CONTAINER",
    _why_stuck,
    groups=(
        (
            "Options",
            (
                ("all", "a", "bool", "Show also the processes that are not stuck"),
                ("format", "", "string", '"table", "table TEMPLATE", "json" or a Go template'),
            ),
        ),
    ),
    minimum=1,
    maximum=1,
    description=(
        "Show what a container's processes wait for and what frees them.\n"
        "CONTAINER is a name or an id; an id in containerd, or the number of any process,\n"
        "will do as well. Root sees more than others: stacks of the kernel, and the\n"
        "processes that hold a lock."
    ),
)
