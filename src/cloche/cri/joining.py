"""Work that is done once however often it is asked for: who asks again joins what is under way.

It goes on when whoever asked leaves, so that a client that gave up finds it done when it asks again.
"""

from __future__ import annotations

import asyncio

from cloche.errors import DeadlineExceeded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

_LOOK_S = 0.25


class Work:
    """A piece of work. what: for messages; stage: what it is at."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.stage = "beginning"
        self._since = asyncio.get_running_loop().time()

    def enter(self, stage: str) -> None:
        """The next thing begins."""
        self.stage = stage
        self._since = asyncio.get_running_loop().time()

    def spent_s(self) -> float:
        """How long it has been at this stage."""
        return asyncio.get_running_loop().time() - self._since

    def blocked(self) -> str:
        """That it is at one thing for long, in words."""
        return f"{self.what}: {self.stage} has taken {self.spent_s():.0f} s so far"


class Joining:
    """What is under way, by key. slow_s: after how long at one stage that is said; tell: to whom."""

    def __init__(self, slow_s: float, tell: Callable[[str], None]) -> None:
        self._slow_s = slow_s
        self._tell = tell
        self._running: dict[object, tuple[Work, asyncio.Task[str]]] = {}

    def under_way(self) -> list[str]:
        """All of it, in words."""
        return [f"{work.what}: {work.stage}" for work, _ in self._running.values()]

    async def run(self, key: object, what: str, make: Callable[[Work], Coroutine[Any, Any, str]]) -> str:
        """The result of the work with this key, which is begun unless it is under way.

        Who joins work that is stuck is told so at once: raises DeadlineExceeded with the stage's name.
        """
        found = self._running.get(key)
        if found is not None:
            return await self._join(*found)
        work = Work(what)
        task = asyncio.ensure_future(make(work))
        self._running[key] = (work, task)
        watching = asyncio.ensure_future(self._watch(work))

        def ended(_: asyncio.Task[str]) -> None:
            watching.cancel()
            del self._running[key]
            if not task.cancelled():
                task.exception()  # whoever waits is told; there may be nobody

        task.add_done_callback(ended)
        return await asyncio.shield(task)

    async def _join(self, work: Work, task: asyncio.Task[str]) -> str:
        while not task.done():
            if work.spent_s() > self._slow_s:
                raise DeadlineExceeded(f"{work.blocked()}; it goes on")
            await asyncio.wait({task}, timeout=_LOOK_S)
        return task.result()

    async def _watch(self, work: Work) -> None:
        """Say once of each stage that it takes long."""
        told = ""
        while True:
            await asyncio.sleep(_LOOK_S)
            if work.spent_s() > self._slow_s and told != work.stage:
                told = work.stage
                self._tell(work.blocked())
