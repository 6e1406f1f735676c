"""Lists of things, as docker prints them: a table, JSON lines, or a template of the user's.

A list has columns; each is (name in templates, header). Rows are dicts by the columns' names. The
format is None (the default table), "table", "json", "table TEMPLATE" or "TEMPLATE".
"""

from __future__ import annotations

from cloche.cli.output import one_line, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

_LEAST_CELL = 10
_PADDING = 3


def show(
    rows: Iterable[Mapping[str, Any]],
    headers: Mapping[str, str],
    default: Sequence[str],
    *,
    form: str | None = None,
) -> None:
    """Print rows to the standard output.

    headers: header of every name that templates may use; default: the names that the table shows.
    form: the value of --format. Raises InvalidArgument where it is no template.
    """
    write(rendered(rows, headers, default, form=form))


def rendered(
    rows: Iterable[Mapping[str, Any]],
    headers: Mapping[str, str],
    default: Sequence[str],
    *,
    form: str | None = None,
) -> str:
    """The text that show() prints."""
    if not form or form == "table":
        cells = [[headers[name] for name in default]]
        cells += [[one_line(str(row[name])) for name in default] for row in rows]
        return aligned(cells)
    return _templated(rows, headers, form)


def _templated(rows: Iterable[Mapping[str, Any]], headers: Mapping[str, str], form: str) -> str:
    from cloche.cli.template import Template

    # A backslash typed in single quotes reaches us as such, and docker takes it as the character.
    form = form.replace("\\t", "\t").replace("\\n", "\n")
    if form == "json":
        form = "{{json .}}"
    tabled = form.startswith("table ")
    template = Template(form[6:].lstrip(" ") if tabled else form)
    lines = [template.execute(dict(sorted(row.items()))) for row in rows]
    if not tabled:
        return "".join(line + "\n" for line in lines)
    lines.insert(0, template.execute(dict(headers)))
    return aligned([[one_line(cell) for cell in line.split("\t")] for line in lines])


def aligned(cells: Sequence[Sequence[str]], *, least: int = _LEAST_CELL) -> str:
    """Rows of cells as lines: columns so wide at least, three blanks between, the last one open."""
    widths: dict[int, int] = {}
    for row in cells:
        for column, cell in enumerate(row[:-1]):
            widths[column] = max(widths.get(column, least), len(cell) + _PADDING)
    lines = []
    for row in cells:
        lines.append("".join(cell.ljust(widths[column]) for column, cell in enumerate(row[:-1])) + row[-1])
    return "".join(line + "\n" for line in lines)


def templated_document(document: Mapping[str, Any], form: str) -> str:
    """One document filled into the user's template, or as JSON where the format says `json`."""
    from cloche.cli.template import Template

    return Template("{{json .}}" if form == "json" else form).execute(document)
