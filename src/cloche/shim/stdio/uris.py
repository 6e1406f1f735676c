"""Where a process's streams go: the URIs of containerd's clients, and some of our own.

    (nothing)                     /dev/null
    /path, fifo:///path           a fifo that the client made; a path may also name any other file
    file:///path                  appended to a file, which is made
    binary:///path?key=value      a logging program; arguments: key, value, in this order
    binary-v2:///path?key=value   likewise, and it must say that it is ready
    json-file:///path             Docker's log format; ?max-size=10m&max-file=3
    cri:///path                   the log format of Kubernetes; likewise
    attach://                     nowhere but to those who attach

A bare path is taken as it is; in a URI, percent signs escape.
"""

from __future__ import annotations

import os

from cloche.errors import InvalidArgument
from cloche.spec.record import Record

FIFO, FILE, BINARY, BINARY_V2 = "fifo", "file", "binary", "binary-v2"
JSON_FILE, CRI, ATTACH, NULL = "json-file", "cri", "attach", ""

PROGRAMS = (BINARY, BINARY_V2)
LOGS = (JSON_FILE, CRI, ATTACH)
_SCHEMES = (FIFO, FILE, BINARY, BINARY_V2, *LOGS)
_HEX = "0123456789abcdefABCDEF"


class Target(Record):
    """One URI, taken apart. scheme: "" for /dev/null; options: the query's, the first of each key."""

    scheme: str = NULL
    path: str = ""
    options: tuple[tuple[str, str], ...] = ()


def parse(uri: str) -> Target:
    """Take a URI apart. Raises InvalidArgument for a scheme or a form that is not listed above."""
    try:
        os.fsencode(uri)
    except UnicodeEncodeError:
        raise InvalidArgument(f"stdio {uri!r}: not a text that a path could be") from None
    if "\0" in uri:
        raise InvalidArgument(f"stdio {uri!r}: a path cannot hold a NUL")
    if not uri:
        return Target(NULL)
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return Target(FIFO, _absolute(uri, uri))
    if scheme not in _SCHEMES:
        known = ", ".join(f"{each}://" for each in _SCHEMES)
        raise InvalidArgument(f"stdio {uri!r}: an unknown scheme; there are {known}, and the path of a fifo")
    rest, _, query = rest.partition("#")[0].partition("?")
    options = _options(uri, query)
    if scheme == ATTACH:
        if rest:
            raise InvalidArgument(f"stdio {uri!r}: attach:// takes no path")
        return Target(ATTACH)
    return Target(scheme, _absolute(uri, _unescape(uri, rest)), options)


def _absolute(uri: str, path: str) -> str:
    if not path.startswith("/"):
        raise InvalidArgument(f"stdio {uri!r}: the path must be absolute")
    if "\0" in path:
        raise InvalidArgument(f"stdio {uri!r}: a path cannot hold a NUL")
    return path


def _options(uri: str, query: str) -> tuple[tuple[str, str], ...]:
    options: dict[str, str] = {}
    for pair in query.split("&"):
        if pair:
            key, _, value = pair.replace("+", " ").partition("=")
            options.setdefault(_unescape(uri, key), _unescape(uri, value))
    if any("\0" in text for pair in options.items() for text in pair):
        raise InvalidArgument(f"stdio {uri!r}: an argument cannot hold a NUL")
    return tuple(options.items())


def _unescape(uri: str, text: str) -> str:
    first, *rest = text.split("%")
    if not rest:
        return text
    data = os.fsencode(first)
    for part in rest:
        code = part[:2]
        if len(code) < 2 or code[0] not in _HEX or code[1] not in _HEX:
            raise InvalidArgument(f"stdio {uri!r}: % must be followed by two hexadecimal digits")
        data += bytes.fromhex(code) + os.fsencode(part[2:])
    return os.fsdecode(data)
