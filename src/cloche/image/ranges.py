"""A large blob in several pieces at once, handed on in order.

One connection is often slower than the line: registries limit each. Pieces are held in memory until
those before them have been written, so no more than PIECES of them are under way.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

PIECE_BYTES = 8 << 20
PIECES = 3
WORTH_BYTES = 4 * PIECE_BYTES
"""Below this, several requests gain nothing."""


def pieces(fetch: Callable[[int, int], bytes], start: int, end: int) -> Iterator[bytes]:
    """The bytes from `start` to `end`. fetch(offset, length): one piece, in any of several threads.

    Raises what it raises, once all before the piece that failed has been given.
    """
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(PIECES, "cloche-range") as threads:
        try:
            offset = start
            while offset < end or waiting:
                while offset < end and len(waiting) < PIECES:
                    length = min(PIECE_BYTES, end - offset)
                    waiting.append(threads.submit(fetch, offset, length))
                    offset += length
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()
