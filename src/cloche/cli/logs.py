"""`logs`: what a container has written."""

from __future__ import annotations

from cloche.cli import moments
from cloche.cli.arguments import Command
from cloche.cli.output import write_bytes
from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cli.arguments import Parsed
    from cloche.cli.session import Session

_DESCRIPTORS = {"stdout": 1, "stderr": 2}


def _logs(session: Session, parsed: Parsed) -> int:
    tail, since, until = _tail(parsed), parsed.text("since"), parsed.text("until")
    container = session.engine.containers.get(parsed.arguments[0])
    stamped = parsed.on("timestamps")
    for entry in container.logs(
        follow=parsed.on("follow"), tail=tail, since_ns=_moment_ns(since), until_ns=_moment_ns(until)
    ):
        data = entry.data if not stamped else f"{entry.time} ".encode() + entry.data
        write_bytes(data, _DESCRIPTORS[entry.stream])
    return 0


def _tail(parsed: Parsed) -> int | None:
    text = parsed.text("tail")
    if text is None or text == "all" or text.startswith("-"):
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidArgument(f'invalid tail {text!r}: must be a number of lines, or "all"')
    return int(text)


def _moment_ns(text: str | None) -> int | None:
    return moments.parse(text) if text else None


LOGS = Command(
    "[OPTIONS] CONTAINER",
    _logs,
    groups=(
        (
            "Options",
            (
                ("follow", "f", "bool", "Go on with what it writes until it ends"),
                ("since", "", "string", "From this time on: 2026-01-02T15:04:05Z, or 42m for minutes ago"),
                ("tail", "n", "string", 'Only so many lines from the end (default "all")'),
                ("timestamps", "t", "bool", "Begin each line with its time"),
                ("until", "", "string", "Up to this time: 2026-01-02T15:04:05Z, or 42m for minutes ago"),
            ),
        ),
    ),
    minimum=1,
    maximum=1,
)
