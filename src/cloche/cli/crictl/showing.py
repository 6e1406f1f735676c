"""What several commands of crictl print: tables, documents in a format asked for, states and moments."""

from __future__ import annotations

import json
import time

from cloche.cli import human
from cloche.cli.arguments import UsageError
from cloche.cli.output import line, one_line, write
from cloche.cli.table import aligned
from cloche.engine.durations import in_words
from cloche.errors import InvalidArgument
from cloche.spec.document import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_NS = 1_000_000_000
_LEAST_CELL = 20
_ID = 13
CLEAR = "\033[2J\033[H"
STATES = ("Created", "Running", "Exited", "Unknown")
POD_STATES = ("Ready", "NotReady")
# As Go's encoder does, so that the text can stand inside a page.
_ESCAPED = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows as columns; the first one is the headers."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    write(aligned(cells, least=_LEAST_CELL))


def short(identity: str) -> str:
    """An id as lists show it."""
    return identity.removeprefix("sha256:")[:_ID]


def ago(time_ns: int) -> str:
    """How long ago a moment was: "2 minutes ago"."""
    return in_words(max(0.0, (time.time_ns() - time_ns) / _NS)) + " ago"


def moment(time_ns: int | None) -> str:
    """A moment of the local zone in RFC 3339, without the zeros at its end; None is Go's zero."""
    if time_ns is None:
        return "0001-01-01T00:00:00Z"
    clock, zone = _clock(time_ns, "T")
    return clock + ("Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}")


def go_moment(time_ns: int) -> str:
    """A moment as Go prints it: "2026-11-23 19:11:29.421569792 +0000 UTC"."""
    clock, zone = _clock(time_ns, " ")
    return f"{clock} {zone} {time.strftime('%Z', time.localtime(time_ns // _NS))}"


def _clock(time_ns: int, between: str) -> tuple[str, str]:
    whole, rest = divmod(time_ns, _NS)
    local = time.localtime(whole)
    fraction = f".{rest:09}".rstrip("0").rstrip(".")
    return time.strftime(f"%Y-%m-%d{between}%H:%M:%S", local) + fraction, time.strftime("%z", local)


def size(size_bytes: int) -> str:
    """A size in decimal units with three significant digits: "1.24MB"."""
    return human.size(size_bytes, digits=3)


def labels(title: str, pairs: Mapping[str, str]) -> str:
    """Labels or annotations, one a line; nothing where there are none."""
    if not pairs:
        return ""
    return f"{title}:\n" + "".join(f"\t{key} -> {one_line(value)}\n" for key, value in sorted(pairs.items()))


def message_text(document: Any, form: str) -> None:
    """Print a message's document as `json` or `yaml`."""
    if form == "json":
        line(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        from cloche.cli.crictl.yaml_form import dump

        line(dump(document))


def statuses(documents: Sequence[Mapping[str, Any]], form: str, template: str) -> None:
    """Print documents as one, or one alone by itself. Raises UsageError for an unknown format."""
    if not documents:
        return
    whole = documents[0] if len(documents) == 1 else list(documents)
    if form == "json":
        line(json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False).translate(_ESCAPED))
    elif form == "yaml":
        from cloche.cli.crictl.yaml_form import dump

        line(dump(whole))
    elif form == "go-template":
        from cloche.cli.template import Template

        line(Template(template).execute(whole))
    else:
        raise UsageError(f"unsupported format: {form!r}")


def information(pairs: Mapping[str, str]) -> dict[str, Any]:
    """What a daemon adds to a status: documents as such, and texts without their quotes."""
    found: dict[str, Any] = {}
    for key, value in pairs.items():
        found[key] = _numbers(loads(value, key)) if value.startswith("{") else value.strip('"')
    return found


def _numbers(document: Any) -> Any:
    """A document whose whole numbers have no point, as Go writes them."""
    if isinstance(document, dict):
        return {key: _numbers(each) for key, each in document.items()}
    if isinstance(document, list):
        return [_numbers(each) for each in document]
    return int(document) if isinstance(document, float) and document.is_integer() else document


def known_format(form: str, *known: str) -> str:
    """A format, checked. Raises InvalidArgument."""
    if form not in known:
        raise InvalidArgument(f"unsupported output format {form!r}: there are {', '.join(known)}")
    return form
