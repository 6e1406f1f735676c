"""Containers that are being made: a plugin that comes meanwhile neither misses one nor hears of it twice."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Births:
    """All of them. patience_s: how long a new plugin waits for their ends."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._waiting: set[asyncio.Future[None]] = set()

    @contextmanager
    def one(self) -> Iterator[None]:
        """A container is being made that no plugin will be asked about any more."""
        end = asyncio.get_running_loop().create_future()
        self._waiting.add(end)
        try:
            yield
        finally:
            self._waiting.discard(end)
            end.set_result(None)

    async def settle(self) -> None:
        """Wait until those that are under way are there, or for as long as patience lasts."""
        if self._waiting:
            await asyncio.wait(set(self._waiting), timeout=self._patience_s)
