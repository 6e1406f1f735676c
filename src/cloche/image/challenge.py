"""`WWW-Authenticate`: what a registry wants to see before it answers (RFC 9110, section 11).

Commas separate both challenges and their parameters, so the header is read token by token: a word
followed by `=` and a value is a parameter, any other word begins a challenge.
"""

from __future__ import annotations

import re

from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LIMIT_CHARACTERS = 16 << 10
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_SEPARATORS = re.compile(r"[ \t,]*")
_PARAMETER = re.compile(
    rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^ \t,"=][^ \t,"]*))(?=[ \t]*(?:,|$))'
)
_TOKEN68 = re.compile(r"[ \t]+([0-9A-Za-z\-._~+/]+=*)(?=[ \t]*(?:,|$))")
_SCHEME = re.compile(rf"({_TOKEN})(?=[ \t,]|$)")
_ESCAPED = re.compile(r"\\(.)")


class Challenge(Record):
    """One way to authenticate that the server offers.

    scheme: in lower case. parameters: names in lower case. token68: the bare credential-like word
    some schemes send instead of parameters; else empty.
    """

    scheme: str
    parameters: Mapping[str, str]
    token68: str = ""


def parse(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Every challenge of a response's header lines, in their order.

    Never raises: what cannot be understood ends that line, and what was read before it counts. A
    parameter that is given twice keeps its first value.
    """
    found: list[Challenge] = []
    for header in headers:
        found += _parse_line(header[:_LIMIT_CHARACTERS])
    return tuple(found)


def _parse_line(text: str) -> list[Challenge]:
    found: list[Challenge] = []
    parameters: dict[str, str] | None = None
    position = _after(_SEPARATORS, text, 0)
    while position < len(text):
        if parameters is not None and (match := _PARAMETER.match(text, position)):
            quoted, plain = match.group(2), match.group(3)
            value = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
            parameters.setdefault(match.group(1).lower(), value)
        elif match := _SCHEME.match(text, position):
            parameters = {}
            named = _PARAMETER.match(text, _after(_SEPARATORS, text, match.end()))
            bare = None if named else _TOKEN68.match(text, match.end())
            found.append(Challenge(match.group(1).lower(), parameters, bare.group(1) if bare else ""))
            match = bare or match
        else:
            break
        position = _after(_SEPARATORS, text, match.end())
    return found


def _after(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def scopes(challenge: Challenge) -> tuple[str, ...]:
    """The scopes a bearer token must have, one string each (`repository:a/b:pull`)."""
    return tuple(challenge.parameters.get("scope", "").split())
