"""A call to a shim beside those of the test, on a connection of its own: for one that is to hang."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

from cloche.errors import ClocheError
from cloche.wire.status import StatusError
from tests.shim.served import Served


class Beside:
    """Calls for as long as a `with` block lasts, at whose end the call must have ended.

    error: what it was refused with, once it was.
    """

    def __init__(self, shim: Served, method: str, request: Any) -> None:
        self.error: BaseException | None = None
        self._client = shim.connect()
        self._thread = threading.Thread(target=lambda: self._call(shim, method, request))

    def _call(self, shim: Served, method: str, request: Any) -> None:
        try:
            shim.call(method, request, client=self._client)
        except (ClocheError, StatusError) as error:
            self.error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.join(20)
        self._client.close()
