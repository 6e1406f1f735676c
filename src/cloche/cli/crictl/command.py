"""What a command of crictl is."""

from __future__ import annotations

from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.cli.arguments import Group, Parsed, Row
    from cloche.cli.crictl.client import Client

OUTPUT: Row = ("output", "o", "string", "How to print it: json, yaml or table")
STATUS_OUTPUT: tuple[Row, ...] = (
    ("output", "o", "string", "How to print it: json, yaml, go-template or table"),
    ("template", "", "string", "The template of -o go-template"),
)


class CrictlCommand(Record):
    """One command: how its line is read (see cli.arguments.Command), and the function that obeys it.

    obey: returns the exit code, None for success.
    """

    usage: str
    obey: Callable[[Client, Parsed], int | None]
    groups: tuple[Group, ...] = ()
    minimum: int = 0
    maximum: int | None = 0
    passes_on: int = 0
    description: str = ""
