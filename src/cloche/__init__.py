"""Cloche: a complete container stack. As a library it is one class, `cloche.Engine`.

>>> import cloche
>>> with cloche.Engine() as engine:
...     result = engine.run("tools", ["sh", "-c", "echo hello"])
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["Engine", "__version__"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.engine.engine import Engine as Engine


def __getattr__(name: str) -> object:
    """Load the engine when it is first asked for: the commands' fast paths do without it."""
    if name == "Engine":
        from cloche.engine.engine import Engine

        globals()[name] = Engine
        return Engine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
