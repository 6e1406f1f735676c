"""The one table that a benchmark run prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One comparison.

    values: the medians of our work and of theirs, in seconds, or in bytes where `unit` is KB. must,
    aim: ratios; not every row has a must. within: how much more ours may be than theirs, instead of a
    ratio, in the same unit.
    """

    work: str
    beside: str
    values: Sequence[float]
    must: float | None = None
    aim: float | None = None
    unit: str = "ms"
    within: float | None = None

    @property
    def ratio(self) -> float:
        """Ours in units of theirs."""
        return self.values[0] / self.values[1]

    @property
    def verdict(self) -> str:
        """How the row stands to what is asked of it."""
        if self.missed:
            return "MISSED"
        if self.aim is not None and self.ratio <= self.aim:
            return "aim reached"
        return "" if self.must is None and self.within is None else "ok"

    @property
    def missed(self) -> bool:
        """Whether it is worse than it must be."""
        if self.within is not None:
            return self.values[0] - self.values[1] > self.within
        return self.must is not None and self.ratio > self.must

    def cells(self) -> tuple[str, ...]:
        """The row's texts in the order of the heading."""
        values = [f"{self._shown(value)} {self.unit}" for value in self.values]
        if self.within is not None:
            must = f"+{self._shown(self.within)} {self.unit}"
        else:
            must = "-" if self.must is None else f"{self.must:.2f}"
        aim = "-" if self.aim is None else f"{self.aim:.2f}"
        return (self.work, self.beside, *values, f"{self.ratio:.2f}", must, aim, self.verdict)

    def _shown(self, value: float) -> str:
        scale, digits = _SCALES.get(self.unit, (1 / 1024, 0))
        return f"{value * scale:.{digits}f}"


_SCALES = {"ms": (1e3, 1), "µs": (1e6, 0)}

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
