"""Work for a call that is traced, as parts of its trace. What traces is loaded with the first such call."""

from __future__ import annotations

from sys import modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _T = TypeVar("_T")


def carried(work: Callable[[], _T]) -> Callable[[], _T]:
    """Work that is done elsewhere, in a thread or a fork, for the call that is dealt with here."""
    tracing = modules.get("cloche.wire.tracing")
    return tracing.carried(work) if tracing is not None else work


def measured(name: str, work: Callable[[], _T]) -> _T:
    """Do it, as a part of the call's trace."""
    tracing = modules.get("cloche.wire.tracing")
    if tracing is None:
        return work()
    with tracing.span(name):
        return work()
