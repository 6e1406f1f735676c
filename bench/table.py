"""The one table that a benchmark run prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One comparison.

    values: the medians of our work and of theirs: seconds, or what the unit says. must, aim: ratios;
    not every row has a must.
    """

    work: str
    beside: str
    values: Sequence[float]
    must: float | None
    aim: float
    unit: str = "ms"

    @property
    def ratio(self) -> float:
        """Our value in units of theirs."""
        return self.values[0] / self.values[1]

    @property
    def verdict(self) -> str:
        """How the ratio stands to must and aim."""
        if self.ratio <= self.aim:
            return "aim reached"
        return "MISSED" if self.missed else "ok" if self.must is not None else ""

    @property
    def missed(self) -> bool:
        """Whether the ratio is worse than it must be."""
        return self.must is not None and self.ratio > self.must

    def cells(self) -> tuple[str, ...]:
        """The row's texts in the order of the heading."""
        scale = 1000 if self.unit == "ms" else 1
        values = [f"{value * scale:.1f} {self.unit}" for value in self.values]
        must = "-" if self.must is None else f"{self.must:.2f}"
        ratios = [f"{self.ratio:.2f}", must, f"{self.aim:.2f}"]
        return (self.work, self.beside, *values, *ratios, self.verdict)


HEADING = ("work", "beside", "ours", "theirs", "ratio", "must", "aim", "")
TEXT_COLUMNS = (0, 1, 7)


def render(rows: Sequence[Row]) -> str:
    """The rows as aligned text."""
    lines = [HEADING, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADING))]
    rule = "  ".join("-" * width for width in widths)

    def aligned(line: tuple[str, ...]) -> str:
        cells = (
            cell.ljust(width) if column in TEXT_COLUMNS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join([aligned(HEADING), rule, *(aligned(line) for line in lines[1:])])
