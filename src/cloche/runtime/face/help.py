"""The pages that `cloche-runc help` shows."""

from __future__ import annotations

from cloche.runtime import command as face
from cloche.runtime.face.arguments import HELP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloche.runtime.face.arguments import Flag
    from cloche.runtime.face.invocation import Command


def _columns(rows: Sequence[tuple[str, str]]) -> str:
    width = max((len(left) for left, _ in rows), default=0)
    return "".join(f"   {left.ljust(width)}  {right}\n" for left, right in rows)


def _flags(flags: Sequence[Flag]) -> str:
    rows = []
    for flag in (*flags, HELP):
        value = "" if flag.kind == "switch" else " value"
        names = f"--{flag.name}{value}" + (f", -{flag.short}{value}" if flag.short else "")
        rows.append((names, flag.help))
    return _columns([row for row, flag in zip(rows, (*flags, HELP), strict=True) if not flag.hidden])


def general_page(commands: Mapping[str, Command]) -> str:
    """What the program does, its commands and the flags in front of them."""
    rows = [(name, command.summary) for name, command in commands.items()]
    return (
        f"NAME:\n   {face.NAME} - run containers as the OCI runtime specification describes them\n\n"
        f"USAGE:\n   {face.NAME} [global options] command [command options] [arguments...]\n\n"
        "A container is described by a bundle: a directory with config.json and, usually, the root\n"
        f"filesystem. `{face.NAME} spec` writes a config.json to start from, and\n"
        f"`{face.NAME} run --bundle DIRECTORY NAME` runs it.\n\n"
        f"COMMANDS:\n{_columns([*rows, ('help, h', 'show this page, or the one of a command')])}\n"
        f"GLOBAL OPTIONS:\n{_flags(face.FLAGS)}"
    )


def command_page(name: str, command: Command) -> str:
    """What one command does, with its words and flags."""
    description = f"DESCRIPTION:\n   {command.description}\n\n" if command.description else ""
    return (
        f"NAME:\n   {face.NAME} {name} - {command.summary}\n\n"
        f"USAGE:\n   {face.NAME} {name} [command options] {command.usage}\n\n"
        f"{description}OPTIONS:\n{_flags(command.flags)}"
    )
