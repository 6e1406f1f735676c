"""How much room a command that cleans up has made."""

from __future__ import annotations

from cloche.cli import human
from cloche.cli.output import line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.engine.engine import Engine


class Reclaimed:
    """A block that removes things; where it succeeds, docker's last line says what that has freed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __enter__(self) -> None:
        self._before = self._taken()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            freed = max(0, self._before - self._taken())
            line(f"Total reclaimed space: {human.size(freed, digits=4)}")

    def _taken(self) -> int:
        """Blobs, layers and what containers and volumes hold, whether a name leads there or not."""
        return self._engine.taken_bytes()
