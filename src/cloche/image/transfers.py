"""Several blobs at once, a few at a time, for one who takes them in order."""

from __future__ import annotations

import threading
from collections import deque

from cloche.errors import Cancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cloche.spec.image import Descriptor

_FAREWELL_S = 2.0


class Transfers:
    """Moves blobs in threads of its own; as a context manager it ends them.

    The first failure stops all others. Leaving the block by an exception does the same, so that
    nothing goes on in the background (what arrived stays, and is resumed by the next attempt).
    """

    def __init__(
        self,
        blobs: Iterable[Descriptor],
        transfer: Callable[[Descriptor], object],
        *,
        cancel: Callable[[], None],
        workers: int,
    ) -> None:
        """transfer: moves one blob, called from several threads. cancel: has those under way fail soon."""
        self._transfer = transfer
        self._cancel = cancel
        self._blobs = deque({blob.digest: blob for blob in blobs}.values())
        self._state = threading.Condition()
        self._missing = {blob.digest for blob in self._blobs}
        self._failure: BaseException | None = None
        # Daemons, as a thread may hang in a connection for a minute, and an exit should not.
        self._threads = [
            threading.Thread(target=self._work, name=f"transfer {number}", daemon=True)
            for number in range(min(workers, len(self._blobs)))
        ]

    def wait(self, digest: str) -> None:
        """Return when this blob is here. Raises what went wrong with it or with any other."""
        with self._state:
            while digest in self._missing and self._failure is None:
                self._state.wait()
            if self._failure is not None:
                raise self._failure

    def wait_for_all(self) -> None:
        """Return when every blob is here. Raises as `wait`."""
        for digest in tuple(self._missing):
            self.wait(digest)

    def __enter__(self) -> Transfers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._cancel()
        for thread in self._threads:
            thread.join(None if kind is None else _FAREWELL_S)

    def _work(self) -> None:
        while True:
            with self._state:
                if not self._blobs or self._failure is not None:
                    return
                blob = self._blobs.popleft()
            try:
                self._transfer(blob)
            except BaseException as error:
                self._fail(error)
                return
            with self._state:
                self._missing.discard(blob.digest)
                self._state.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._state:
            if self._failure is None or isinstance(self._failure, Cancelled):
                self._failure = error
            self._state.notify_all()
        self._cancel()
