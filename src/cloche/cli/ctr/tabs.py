"""Columns as Go's text/tabwriter aligns them, which is how ctr prints every table.

A cell is text behind which a tab stands, and a column is what such cells form on lines that follow
one another: the text after a line's last tab belongs to none.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def aligned(lines: Sequence[str], *, least: int = 1, padding: int = 1, filler: str = " ") -> str:
    """Lines with tabs between and behind their cells, as text with columns.

    least: how wide a column is at least. padding: how much wider than its widest cell. filler: a tab
    makes columns multiples of eight wide.
    """
    rows = [line.split("\t") for line in lines]
    widths: list[list[int]] = [[] for _ in rows]
    _measure(rows, widths, 0, len(rows), 0, least, padding)
    return "".join(_line(row, width, filler) + "\n" for row, width in zip(rows, widths, strict=True))


def _measure(
    rows: list[list[str]],
    widths: list[list[int]],
    first: int,
    end: int,
    column: int,
    least: int,
    padding: int,
) -> None:
    """Find the width of a column in every block of lines that have it, then of those right of it."""
    line = first
    while line < end:
        if len(rows[line]) - 1 <= column:
            line += 1
            continue
        last = line
        while last < end and len(rows[last]) - 1 > column:
            last += 1
        width = max(least, *(len(row[column]) + padding for row in rows[line:last]))
        for each in widths[line:last]:
            each.append(width)
        _measure(rows, widths, line, last, column + 1, least, padding)
        line = last


def _line(row: list[str], widths: list[int], filler: str) -> str:
    parts = []
    for cell, width in zip(row, widths, strict=False):
        if filler == "\t":
            full = -(-width // 8) * 8
            parts.append(cell + "\t" * -(-(full - len(cell)) // 8))
        else:
            parts.append(cell.ljust(width))
    return "".join(parts) + row[-1]
