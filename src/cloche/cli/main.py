"""The `cloche` command: finds the command in a table, loads its module alone, and runs it.

This module decides three things for all commands: how global flags are read, how errors become
one line and an exit code, and how the process ends. Everything heavy is imported later.
"""

from __future__ import annotations

import os
import sys

from cloche.cli.arguments import Command, HelpWanted, Parsed, UsageError, check_count, parse
from cloche.cli.output import line, warn, write
from cloche.cli.session import Session
from cloche.errors import ClocheError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from cloche.cli.arguments import Group

GLOBAL_GROUPS: tuple[Group, ...] = (
    (
        "Global Options",
        (
            ("address", "", "string", "Socket of the daemon (default STATE/cloched.sock; $CLOCHE_ADDRESS)"),
            ("debug", "D", "bool", "Show the traceback of an error"),
            ("namespace", "n", "string", 'Namespace to work in (default "default"; $CLOCHE_NAMESPACE)'),
            ("root", "", "string", 'Folder of what is kept (default "/var/lib/cloche"; $CLOCHE_ROOT)'),
            ("state", "", "string", 'Folder of what is running (default "/run/cloche"; $CLOCHE_STATE)'),
            ("version", "v", "bool", "Print the version and leave"),
        ),
    ),
)

_COMMAND_NOT_FOUND = 127
_COMMAND_NOT_INVOKABLE = 126
_ENOENT = 2


def main() -> NoReturn:
    """Run the command line of this process and end it with the exit code."""
    _occupy_standard_descriptors()
    # Leaving without the interpreter's shutdown saves 2 ms; all output is written unbuffered.
    os._exit(run(sys.argv[1:]))


def _occupy_standard_descriptors() -> None:
    """A caller may have closed some (`>&-`); the next file opened, a database, must not become stdout."""
    while (descriptor := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def run(line_words: Sequence[str]) -> int:
    """Run one command line (without the program's name) and return its exit code."""
    try:
        return _global(list(line_words))
    except BrokenPipeError:
        _die_of("SIGPIPE")
    except KeyboardInterrupt:
        _die_of("SIGINT")


def _global(words: list[str]) -> int:
    try:
        flags = parse(GLOBAL_GROUPS, words, passes_on=1)
        if flags.on("version"):
            from cloche.cli.system import version_line

            line(version_line())
            return 0
        if not flags.arguments:
            raise HelpWanted
    except HelpWanted:
        from cloche.cli import pages

        write(pages.program(GLOBAL_GROUPS))
        return 0
    except UsageError as error:
        return _usage(error, "cloche")
    return _command(Session(flags, os.environ), flags.arguments)


def _command(session: Session, words: list[str]) -> int:
    from cloche.cli.commands import COMMANDS, GROUPS, resolve

    key, path, taken = resolve(words)
    if not key:
        return _not_a_command(path, words, groups=GROUPS)
    module, name, _ = COMMANDS[key]
    command: Command = getattr(__import__(f"cloche.cli.{module}", fromlist=(name,)), name)
    try:
        parsed = parse(command.groups, words[taken:], passes_on=command.passes_on, one_dash=command.one_dash)
        check_count(command, f"cloche {path}", parsed.arguments)
        return _obey(command, session, parsed)
    except HelpWanted:
        from cloche.cli import pages

        write(pages.command(key, path, command))
        return 0
    except UsageError as error:
        return _usage(error, f"cloche {path}")


def _obey(command: Command, session: Session, parsed: Parsed) -> int:
    """Run a command; every error ends here as one line and an exit code."""
    try:
        try:
            return command.run(session, parsed)
        finally:
            session.close()
    except (UsageError, HelpWanted, BrokenPipeError):
        raise
    except Exception as error:
        if session.debug:
            _traceback()
        warn(_message(error))
        return exit_code(error, command)


def exit_code(error: Exception, command: Command) -> int:
    """The command's code for errors; 126 or 127 where a program in a container was not executable."""
    errno = getattr(error, "errno", None) if isinstance(error, ClocheError) else None
    if errno is None or not command.invokes:
        return int(getattr(error, "exit_status", command.failure))
    return _COMMAND_NOT_FOUND if errno == _ENOENT else _COMMAND_NOT_INVOKABLE


def _message(error: Exception) -> str:
    if isinstance(error, ClocheError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}" if error.filename else error.strerror.lower()
    return f"internal error: {type(error).__name__}: {error} (--debug shows where)"


def _not_a_command(path: str, words: list[str], *, groups: dict[str, tuple[str, dict[str, str]]]) -> int:
    first = words[0]
    if first in groups and (len(words) == 1 or words[1] in ("--help", "-h")):
        from cloche.cli import pages

        write(pages.group(first))
        return 0
    if first == "help":
        return run(words[1:] + ["--help"])
    warn(f"unknown command: cloche {path}")
    write(f"See 'cloche {first + ' ' if first in groups else ''}--help'.\n", 2)
    return 1


def _usage(error: UsageError, path: str) -> int:
    warn(str(error))
    write(f"See '{path} --help'.\n", 2)
    return error.status


def _traceback() -> None:
    import traceback

    write(traceback.format_exc(), 2)


def _die_of(name: str) -> NoReturn:
    """End by the signal itself, so that a shell or make sees what happened."""
    import _signal  # type: ignore[import-not-found]  # has no stubs

    number: int = getattr(_signal, name)
    _signal.signal(number, _signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # where the signal is blocked
