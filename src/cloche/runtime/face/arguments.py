"""runc's command line grammar: flags as Go programs take them, in front of the words or among them.

`-name` and `--name` are the same; a value follows after `=` or as the next word; a flag that is
true or false takes a value only after `=`; `--` ends the flags.
"""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def boolean(word: str) -> bool:
    """What a word says, as Go's programs read it. Raises ValueError."""
    if word not in _TRUE and word not in _FALSE:
        raise ValueError(word)
    return word in _TRUE


class UsageError(InvalidArgument):
    """The words do not fit the command: its usage is shown with the error."""


class Flag(Record):
    """One flag of a command.

    kind: "switch" (true or false), "text", "number", and "texts" or "numbers" where it may be
    repeated. short: one more name, of one letter. hidden: not shown in the help.
    """

    name: str
    kind: str
    help: str
    short: str = ""
    hidden: bool = False


HELP = Flag("help", "switch", "show this help", "h")


class Options:
    """What a command line said: values of flags by their long names, and the other words in order."""

    __slots__ = ("_values", "words")

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}
        self.words: list[str] = []

    def add(self, name: str, value: str) -> None:
        """One more occurrence of a flag."""
        self._values.setdefault(name, []).append(value)

    def given(self, name: str) -> bool:
        """Whether the flag was there at all."""
        return name in self._values

    def switch(self, name: str) -> bool:
        """The value of a switch; the last one counts."""
        return self._values.get(name, ("false",))[-1] == "true"

    def text(self, name: str, default: str = "") -> str:
        """The value of a text; the last one counts."""
        return self._values.get(name, (default,))[-1]

    def texts(self, name: str) -> list[str]:
        """All values of a flag that may be repeated."""
        return list(self._values.get(name, ()))

    def number(self, name: str) -> int:
        """The value of a number, 0 where it was not given."""
        return int(self.text(name, "0"), 0)

    def numbers(self, name: str) -> list[int]:
        """All values of a number that may be repeated."""
        return [int(value, 0) for value in self.texts(name)]


def _is_number(value: str) -> bool:
    try:
        int(value, 0)
    except ValueError:
        return False
    return True


def _split(word: str) -> tuple[str, str | None]:
    name, equals, value = word.lstrip("-").partition("=")
    return name, value if equals else None


def _checked(flag: Flag, name: str, value: str) -> str:
    if flag.kind == "switch":
        try:
            return "true" if boolean(value) else "false"
        except ValueError:
            raise UsageError(f'invalid boolean value "{value}" for flag -{name}') from None
    if flag.kind in ("number", "numbers") and not _is_number(value):
        raise UsageError(f'invalid value "{value}" for flag -{name}: not a number')
    return value


def parse(flags: Sequence[Flag], words: list[str], *, interspersed: bool) -> Options:
    """Sort words into flags and the rest.

    interspersed: flags are also taken from among and after the other words; without it the first
    other word ends the flags. Raises UsageError.
    """
    known = {name: flag for flag in (*flags, HELP) for name in (flag.name, flag.short) if name}
    options = Options()
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word == "--":
            options.words += words[position:]
            break
        if len(word) < 2 or word[0] != "-":
            if not interspersed:
                options.words += words[position - 1 :]
                break
            options.words.append(word)
            continue
        name, value = _split(word)
        flag = known.get(name)
        if flag is None or word.startswith("---"):
            raise UsageError(f"flag provided but not defined: -{name}")
        if value is None and flag.kind == "switch":
            value = "true"
        elif value is None:
            if position == len(words):
                raise UsageError(f"flag needs an argument: -{name}")
            value = words[position]
            position += 1
        options.add(flag.name, _checked(flag, name, value))
    return options
