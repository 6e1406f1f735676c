"""Command lines in docker's grammar, from tables, without argparse.

The grammar is that of pflag, which docker, nerdctl and podman share: `--name value`,
`--name=value`, `-n value`, `-nvalue`, `-n=value`, clusters of short flags (`-it`), flags without a
value that may be told one (`--rm=false`), repeated flags, and `--` ending the flags. Flags may
stand among the arguments, except for commands that pass on another program's command line
(run, create, exec): there the first argument ends them.

A flag is a row (name, shorthand, kind, help); one without a help text is not shown on the help
page. The kind says what value it takes and is shown there: `bool` and `int` are read here, those in
REPEATED collect every value, and any other is text whose meaning is the engine's business.
"""

from __future__ import annotations

from cloche.errors import ClocheError
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from cloche.cli.session import Session

    Row = tuple[str, str, str, str]
    Group = tuple[str, tuple[Row, ...]]

    class Counting(Protocol):
        """What takes so many arguments; maximum: None for any number."""

        @property
        def minimum(self) -> int: ...
        @property
        def maximum(self) -> int | None: ...


REPEATED = frozenset(("list", "map", "mount", "ulimit", "filter"))

_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))


class UsageError(ClocheError):
    """The command line cannot be understood; the face adds where to read how it is written."""

    status = 125


class WrongCountError(UsageError):
    """There are too many or too few arguments; docker answers this with exit code 1."""

    status = 1


class HelpWanted(Exception):
    """The command line asks for help."""


class Command(Record):
    """One command: how its line is read, and the function that obeys it."""

    usage: str
    run: Callable[[Session, Parsed], int]
    groups: tuple[Group, ...] = ()
    minimum: int = 0
    maximum: int | None = 0
    passes_on: int = 0  # after so many arguments the rest of the line is another program's; 0 for never
    failure: int = 1  # exit code of an error of the engine
    invokes: bool = False  # has exit codes of its own where a program cannot be executed
    description: str = ""
    one_dash: bool = False  # see parse


class Parsed:
    """What a command line said: flags by long name, and arguments in order."""

    __slots__ = ("_values", "arguments")

    def __init__(self, values: dict[str, bool | int | str | list[str]], arguments: list[str]) -> None:
        self._values = values
        self.arguments = arguments

    def on(self, name: str, *, default: bool = False) -> bool:
        """Whether a bool flag is set."""
        return bool(self._values.get(name, default))

    def text(self, name: str) -> str | None:
        """The last value of a text flag, None where it was not given."""
        value = self._values.get(name)
        return None if value is None else str(value)

    def number(self, name: str) -> int | None:
        """The value of an int flag, None where it was not given."""
        value = self._values.get(name)
        return value if isinstance(value, int) else None

    def all(self, name: str) -> list[str]:
        """Every value of a repeated flag, in order."""
        value = self._values.get(name)
        return value if isinstance(value, list) else []

    def given(self) -> list[str]:
        """The long names of all flags that were given."""
        return list(self._values)


def parse(
    groups: Sequence[Group], line: Sequence[str], *, passes_on: int = 0, one_dash: bool = False
) -> Parsed:
    """Read a command's line (without the command's own name).

    passes_on: see Command. one_dash: `-name` may stand for `--name`, as in Go's own grammar.
    Raises UsageError for what the tables do not allow and HelpWanted for --help.
    """
    return _Parser(groups, line, one_dash=one_dash).read(passes_on=passes_on)


def check_count(command: Counting, path: str, arguments: Sequence[str]) -> None:
    """Raise WrongCountError, in docker's words, unless the number of arguments fits the command."""
    count, least, most = len(arguments), command.minimum, command.maximum
    if count >= least and (most is None or count <= most):
        return
    if most == 0:
        raise WrongCountError(f"'{path}' accepts no arguments")
    bound = "" if least == most else "at least " if count < least else "at most "
    number = least if count < least else most
    raise WrongCountError(f"'{path}' requires {bound}{number} argument{'' if number == 1 else 's'}")


class _Parser:
    """One reading of one line."""

    def __init__(self, groups: Sequence[Group], line: Sequence[str], *, one_dash: bool) -> None:
        self._groups = groups
        self._one_dash = one_dash
        self._words = list(line)
        self._words.reverse()
        self._values: dict[str, bool | int | str | list[str]] = {}

    def read(self, *, passes_on: int) -> Parsed:
        arguments: list[str] = []
        words = self._words
        while words:
            word = words.pop()
            foreign = 0 < passes_on <= len(arguments)
            if word == "--" or foreign:
                if foreign:
                    arguments.append(word)
                arguments += reversed(words)
                break
            if word.startswith("--"):
                self._long(word)
            elif self._one_dash and word[:1] == "-" and self._row(0, word[1:].partition("=")[0]):
                self._long("-" + word)
            elif len(word) > 1 and word[0] == "-":
                self._cluster(word[1:])
            else:
                arguments.append(word)
        return Parsed(self._values, arguments)

    def _long(self, word: str) -> None:
        name, equals, value = word[2:].partition("=")
        if not name or name[0] == "-":
            raise UsageError(f"bad flag syntax: {_printable(word)}")
        row = self._row(0, name)
        if row is None:
            if name == "help":
                raise HelpWanted
            raise UsageError(f"unknown flag: --{_printable(name)}")
        if equals:
            self._set(row, value)
        elif row[2] == "bool":
            self._set(row, "true")
        elif self._words:
            self._set(row, self._words.pop())
        else:
            raise UsageError(f"flag needs an argument: --{name}")

    def _cluster(self, letters: str) -> None:
        while letters:
            letter, rest = letters[0], letters[1:]
            row = self._row(1, letter)
            if row is None:
                if letter == "h":
                    raise HelpWanted
                raise UsageError(f"unknown shorthand flag: '{_printable(letter)}' in -{_printable(letters)}")
            if rest[:1] == "=":
                self._set(row, rest[1:])
                return
            if row[2] == "bool":
                self._set(row, "true")
                letters = rest
                continue
            if not rest and not self._words:
                raise UsageError(f"flag needs an argument: '{letter}' in -{letters}")
            self._set(row, rest or self._words.pop())
            return

    def _row(self, column: int, text: str) -> Row | None:
        for _, rows in self._groups:
            for row in rows:
                if row[column] == text:
                    return row
        return None

    def _set(self, row: Row, text: str) -> None:
        name, _, kind, _ = row
        try:
            if kind == "bool":
                self._values[name] = _boolean(text)
            elif kind == "int":
                self._values[name] = _integer(text)
            elif kind in REPEATED:
                self._append(name, text)
            else:
                self._values[name] = text
        except ValueError as error:
            flag = f"-{row[1]}, --{name}" if row[1] else f"--{name}"
            raise UsageError(f'invalid argument "{_printable(text)}" for "{flag}" flag: {error}') from None

    def _append(self, name: str, text: str) -> None:
        present = self._values.setdefault(name, [])
        if isinstance(present, list):
            present.append(text)


def _boolean(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("must be true or false")


def _integer(text: str) -> int:
    # int() also takes blanks, underscores and other scripts' digits, which nobody means here.
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 19:
        raise ValueError("must be a whole number")
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError("is out of range")
    return value


def _printable(text: str) -> str:
    """The user's own word made safe for a one-line message."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
