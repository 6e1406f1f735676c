"""Reading and writing descriptors of pipes, fifos and terminals from the event loop, without threads."""

from __future__ import annotations

import asyncio
import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 64 << 10
"""Bytes that are read at once: what a pipe holds."""


class Descriptor:
    """A descriptor that is ours from now on, and nonblocking."""

    def __init__(self, number: int) -> None:
        self._number = number
        os.set_blocking(number, False)

    async def read(self) -> bytes:
        """The next bytes; none at the end. Raises OSError."""
        while True:
            try:
                data = os.read(self._number, CHUNK)
            except BlockingIOError:
                loop = asyncio.get_running_loop()
                await self._ready(loop.add_reader, loop.remove_reader)
                continue
            except OSError as error:
                if error.errno == errno.EIO:  # nobody has the other side of the terminal any more
                    return b""
                raise
            await asyncio.sleep(0)  # a program that is always quicker than we are leaves others their turn
            return data

    async def write(self, data: bytes) -> None:
        """Write all of it. Raises OSError, such as BrokenPipeError where nobody reads."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._number, view) :]
            except BlockingIOError:
                loop = asyncio.get_running_loop()
                await self._ready(loop.add_writer, loop.remove_writer)

    async def _ready(self, add: Callable[..., object], remove: Callable[[int], object]) -> None:
        """Wait until the descriptor is as `add` watches for."""
        ready = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        add(self._number, wake)
        try:
            await ready
        finally:
            remove(self._number)

    def close(self) -> None:
        """Close it; once more does nothing."""
        if self._number >= 0:
            os.close(self._number)
            self._number = -1
