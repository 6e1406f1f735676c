"""Threads for what blocks: pools that cannot starve each other, and one writer a container.

The event loop hands a function to a pool and goes on. With a key, functions of the same key run one
after the other, in the order they came, and only the one whose turn it is holds a thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial

from cloche.daemon.thread_pool import ThreadPool
from cloche.errors import Unavailable
from cloche.wire.tracing import carried

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ParamSpec, TypeVar

    _P = ParamSpec("_P")
    _R = TypeVar("_R")

# A thread that waits costs little, and an unmount may be stuck for as long as its server is away.
POOLS = {"general": 64, "pulls": 16}


class _Running:
    """A function that was handed to a pool. over: it has ended, or will never begin."""

    __slots__ = ("afterwards", "function", "future", "over")

    def __init__(self, function: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self.function = function
        self.future = future
        self.over = False
        self.afterwards: Callable[[], None] | None = None


class Lanes:
    """The pools of one event loop. running: how many functions are in them."""

    def __init__(self) -> None:
        self.running = 0
        self._pools = {name: ThreadPool(limit, f"cloche-{name}") for name, limit in POOLS.items()}
        self._queues: dict[object, deque[asyncio.Future[None]]] = {}

    async def run(
        self,
        function: Callable[_P, _R],
        /,
        *arguments: _P.args,
        **named: _P.kwargs,
    ) -> _R:
        """Run a function in the general pool."""
        return await self.run_in("general", None, lambda: function(*arguments, **named))

    async def run_in(self, pool: str, key: object, function: Callable[[], _R]) -> _R:
        """Run a function in a pool, after those that came before it with the same key.

        Whoever is cancelled stops waiting; a function that runs already runs on, and the next of
        its key waits for its end.
        """
        if key is None:
            return await self._run(pool, function).future  # type: ignore[no-any-return]  # the function's
        await self._turn(key)
        running = None
        try:
            running = self._run(pool, function)
            return await running.future  # type: ignore[no-any-return]  # the function's
        finally:
            if running is None or running.over:
                self._pass_on(key)
            else:
                running.afterwards = partial(self._pass_on, key)

    def close(self) -> None:
        """Take no more work. What runs is not waited for."""
        for pool in self._pools.values():
            pool.close()

    def begin(self, pool: str, function: Callable[[], Any]) -> None:
        """Have a pool call function(), which must not raise, unless it is closed; nobody waits.

        To be called from any thread.
        """
        self._pools[pool].submit(function)

    def _run(self, pool: str, function: Callable[[], Any]) -> _Running:
        loop = asyncio.get_running_loop()
        running = _Running(carried(function), loop.create_future())
        if not self._pools[pool].submit(partial(self._carry_out, running, loop)):
            raise Unavailable("the daemon is stopping")
        self.running += 1
        return running

    def _carry_out(self, running: _Running, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread of the pool."""
        result, error = None, None
        if not running.future.cancelled():
            try:
                result = running.function()
            except BaseException as raised:
                error = raised
        try:
            loop.call_soon_threadsafe(self._ended, running, result, error)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    def _ended(self, running: _Running, result: Any, error: BaseException | None) -> None:
        self.running -= 1
        running.over = True
        if not running.future.done():
            if error is None:
                running.future.set_result(result)
            else:
                running.future.set_exception(error)
        if running.afterwards is not None:
            running.afterwards()

    async def _turn(self, key: object) -> None:
        """Wait until nobody before us works on the key."""
        queue = self._queues.get(key)
        if queue is None:
            self._queues[key] = deque()
            return
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on(key)
            else:
                queue.remove(turn)
            raise

    def _pass_on(self, key: object) -> None:
        queue = self._queues[key]
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._queues[key]
