"""Help pages, made from the same tables that the commands are parsed with."""

from __future__ import annotations

import os

from cloche.cli.commands import ALIASES, COMMANDS, COMMON, GROUPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cloche.cli.arguments import Command, Group, Row

_LEAST_WIDTH = 60
_MOST_WIDTH = 120


def program(global_groups: Sequence[Group]) -> str:
    """The page of `cloche --help`."""
    rest = sorted(name for name in COMMANDS if " " not in name and name not in COMMON)
    parts = [
        "Usage:  cloche [OPTIONS] COMMAND\n\nRun containers: isolated programs with their own file system.\n",
        "Common Commands:\n" + listed((name, COMMANDS[name][2]) for name in COMMON),
        "Management Commands:\n" + listed((name, summary) for name, (summary, _) in GROUPS.items()),
        "Commands:\n" + listed((name, COMMANDS[name][2]) for name in rest),
        *options(global_groups),
        "Run 'cloche COMMAND --help' for more about a command.\n",
    ]
    return "\n".join(parts)


def group(name: str) -> str:
    """The page of a group of commands, as `cloche image --help`."""
    summary, members = GROUPS[name]
    rows = sorted((member, COMMANDS[key][2]) for member, key in members.items())
    return (
        f"Usage:  cloche {name} COMMAND\n\n{summary}\n\nCommands:\n{listed(rows)}\n"
        f"Run 'cloche {name} COMMAND --help' for more about a command.\n"
    )


def command(key: str, path: str, described: Command) -> str:
    """The page of one command. path: how the user wrote it, for the usage line."""
    usage = "\n        ".join(f"cloche {path} {line}".rstrip() for line in described.usage.split("\n"))
    parts = [f"Usage:  {usage}\n\n{described.description or COMMANDS[key][2]}\n"]
    names = _names(key)
    if len(names) > 1:
        parts.append("Aliases:\n  " + ", ".join(f"cloche {name}" for name in names) + "\n")
    parts += options(described.groups)
    return "\n".join(parts)


def _names(key: str) -> list[str]:
    names = [] if " " in key else [key]
    for name, (_, members) in GROUPS.items():
        own = [member for member, target in members.items() if target == key]
        others = [alias for alias, member in ALIASES.get(name, {}).items() if member in own]
        names += [f"{name} {member}" for member in own + others]
    return names


def options(groups: Iterable[Group]) -> list[str]:
    """The flags of each group that has any, under its title."""
    # A flag without a text is another word for one that has it.
    groups = [(title, shown) for title, rows in groups if (shown := tuple(row for row in rows if row[3]))]
    widest = max((len(_syntax(row)) for _, rows in groups for row in rows), default=0)
    # One very long flag shall not push all the texts against the right edge.
    column = min(widest, 30) + 3
    return [
        (f"{title or 'Options'}:\n" + "".join(_option(row, column) for row in sorted(rows, key=_order)))
        for title, rows in groups
    ]


def _order(row: Row) -> str:
    return row[0]


def _syntax(row: Row) -> str:
    name, short, kind, _ = row
    value = "" if kind == "bool" else f" {kind}"
    return f"  {f'-{short}, ' if short else '    '}--{name}{value}"


def _option(row: Row, column: int) -> str:
    lines = _wrapped(row[3], max(_width() - column, 20))
    left = _syntax(row)
    head = f"{left:<{column}}{lines[0]}\n" if len(left) < column - 1 else f"{left}\n{'':{column}}{lines[0]}\n"
    return head + "".join(f"{'':{column}}{line}\n" for line in lines[1:])


def listed(rows: Iterable[tuple[str, str]]) -> str:
    """Names and what they are."""
    rows = list(rows)
    width = max(11, *(len(name) for name, _ in rows))
    return "".join(f"  {name:<{width}} {summary}\n" for name, summary in rows)


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _width() -> int:
    try:
        columns = os.get_terminal_size(1).columns
    except OSError:
        columns = 80
    return min(max(columns, _LEAST_WIDTH), _MOST_WIDTH)
