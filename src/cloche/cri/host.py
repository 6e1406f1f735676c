"""What every part of CRI works with: the stores as Kubernetes' namespace has them, threads, shims, events."""

from __future__ import annotations

from cloche.cri.settings import NAMESPACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, Protocol

    from cloche.cri.settings import Settings
    from cloche.engine.context import Context
    from cloche.engine.tasks.lifecycle import Tasks
    from cloche.wire.protobuf import Message

    class Run(Protocol):
        """Runs what blocks in a thread; of the same lane one at a time."""

        def __call__(
            self,
            function: Callable[..., Any],
            *arguments: Any,
            lane: object = None,
            pool: str = "general",
        ) -> Awaitable[Any]: ...


class Host:
    """See the module.

    context: of Kubernetes' namespace. released: told of the digests that a removed name stood for.
    """

    def __init__(
        self,
        settings: Settings,
        context: Context,
        tasks: Tasks,
        *,
        run: Run,
        publish: Callable[[str, str, Message], None],
        released: Callable[[tuple[str, ...]], None],
    ) -> None:
        self.settings = settings
        self.context = context.beside(NAMESPACE)
        self.tasks = tasks
        self.run = run
        self.released = released
        self._publish = publish

    def publish(self, topic: str, event: Message) -> None:
        """Note what happened, for everyone who follows."""
        self._publish(NAMESPACE, topic, event)
