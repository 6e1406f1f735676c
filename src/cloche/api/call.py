"""What a service sees of a call, whatever transport it came over."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Any, Protocol, TypeVar

    from cloche.wire.protobuf import Message

    _R = TypeVar("_R")

    class Call(Protocol):
        """A call in progress."""

        def header(self, name: str) -> str:
            """The first value of a piece of metadata; "" where it is absent."""

        @property
        def namespace(self) -> str:
            """The namespace that the client is in. Raises FailedPrecondition where it does not say."""

        async def run(
            self, function: Callable[..., _R], *arguments: Any, lane: object = None, pool: str = "general"
        ) -> _R:
            """Run what blocks in a thread; of the same lane one at a time."""

        async def receive(self) -> Any:
            """The next request of a client that streams; None after the last one."""

        def __aiter__(self) -> AsyncIterator[Any]:
            """The requests of a client that streams."""

        async def send(self, message: Message) -> None:
            """Send one response of a stream."""
