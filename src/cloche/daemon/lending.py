"""What another containerd has of us: content, diffs and snapshots behind a socket of their own.

containerd removes what it does not need from such a store without saying in whose name. So all that comes
over this socket is one namespace's, whatever namespaces it has itself; its leases are none of ours; and our
own collector leaves alone what it put here, since it alone knows what of it is needed.
"""

from __future__ import annotations

from cloche.api.snapshots import PROXIED
from cloche.store.references import ROOT_LABEL
from cloche.wire.messages.content import COMMIT, WriteContentRequest
from cloche.wire.messages.diff import DiffRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Any

    from cloche.wire.service import Service

_LABELS = {ROOT_LABEL: "proxied"}


class Lent:
    """A service as it is behind that socket. ours: as it is for everybody else."""

    def __init__(self, ours: Any) -> None:
        self.SERVICE: Service = ours.SERVICE
        self._ours = ours

    def __getattr__(self, handler: str) -> Callable[..., Any]:
        """The handler of a method."""
        ours = getattr(self._ours, handler)
        return lambda call, *request: ours(_Call(call), *map(_kept, request))


class _Call:
    """A call of the one namespace."""

    namespace = PROXIED

    def __init__(self, call: Any) -> None:
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def header(self, name: str) -> str:
        """Nothing of a lease that we do not know."""
        return "" if name == "containerd-lease" else str(self._call.header(name))

    async def receive(self) -> Any:
        """The next request; None after the last one."""
        return _kept(await self._call.receive())

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (request := await self.receive()) is not None:
            yield request


def _kept(request: Any) -> Any:
    """Have what a request makes be kept until it is removed."""
    if isinstance(request, DiffRequest) or (
        isinstance(request, WriteContentRequest) and request.action == COMMIT
    ):
        request.labels = {**request.labels, **_LABELS}
    return request
