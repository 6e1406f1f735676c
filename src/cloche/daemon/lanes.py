"""Threads for what blocks: pools that cannot starve each other, and one writer a container.

The event loop hands a function to a pool and goes on. With a key, functions of the same key run one
after the other, in the order they came, and only the one whose turn it is holds a thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from cloche.wire.tracing import carried

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import ParamSpec, TypeVar

    _P = ParamSpec("_P")
    _R = TypeVar("_R")

# A thread that waits costs little, and an unmount may be stuck for as long as its server is away.
POOLS = {"general": 64, "pulls": 16}


class Lanes:
    """The pools of one event loop."""

    def __init__(self) -> None:
        self._pools: dict[str, ThreadPoolExecutor] = {}
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
            return await asyncio.wrap_future(self._submit(pool, function))
        await self._turn(key)
        running = None
        try:
            running = self._submit(pool, function)
            return await asyncio.wrap_future(running)
        finally:
            if running is None or running.done():
                self._pass_on(key)
            else:
                loop = asyncio.get_running_loop()
                running.add_done_callback(lambda _: loop.call_soon_threadsafe(self._pass_on, key))

    def close(self) -> None:
        """Take no more work. What runs is not waited for."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, pool: str, function: Callable[[], _R]) -> Future[_R]:
        executor = self._pools.get(pool)
        if executor is None:
            executor = self._pools[pool] = ThreadPoolExecutor(POOLS[pool], f"cloche-{pool}")
        return executor.submit(carried(function))

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
