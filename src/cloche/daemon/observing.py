"""Who looks on while calls are answered: counters and traces. Without any, a call pays nothing for it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from cloche.daemon.services import Route
    from cloche.wire.tracing import Span

    class Observation(Protocol):
        """One call. span: its own, where it is traced."""

        @property
        def span(self) -> Span | None: ...

        def received(self) -> None:
            """A message of the client."""

        def sent(self) -> None:
            """A message for the client."""

        def ended(self, code: int, message: str) -> None:
            """The end: gRPC's code, and what the client is told; called once."""

    class Observer(Protocol):
        """All calls of a daemon."""

        def began(self, route: Route, metadata: Mapping[str, Sequence[str]]) -> Observation:
            """A call has come."""
