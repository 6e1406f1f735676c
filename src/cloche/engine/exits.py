"""How a running container ends, asked of its parent."""

from __future__ import annotations

from cloche.errors import Unavailable
from cloche.shim import frames
from cloche.shim.attachment import connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from cloche.engine.context import Context
    from cloche.store.containers import Container

_CHUNK = 1 << 16


class ExitWatch:
    """A running container's end, for programs that wait for many things: select, poll, asyncio.

    Its descriptor is readable when the container has ended (`loop.add_reader(watch, …)`). Context
    manager. Raises Unavailable where the container does not run under a parent.
    """

    def __init__(self, context: Context, row: Container) -> None:
        self._connection = connect(context.run_directory(row.id))
        self._connection.sendall(frames.encode(frames.HELLO, b"\0"))

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._connection.fileno()

    def result(self) -> int | None:
        """Wait for the end and give the exit code; None where the parent was killed."""
        decoder = frames.Decoder()
        try:
            while data := self._connection.recv(_CHUNK):
                for kind, payload in decoder.feed(data):
                    if kind == frames.EXIT:
                        return int.from_bytes(payload, "big")
        except (OSError, ValueError):
            pass
        return None

    def close(self) -> None:
        """Stop watching."""
        self._connection.close()

    def __enter__(self) -> ExitWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def wait_exit(context: Context, row: Container) -> int | None:
    """Wait for a running container's end and its exit code; None where nobody could tell it."""
    try:
        with ExitWatch(context, row) as watch:
            return watch.result()
    except (Unavailable, OSError):
        return None
