"""The diff service where there are several differs: asked in the order that the configuration has.

Each that says it cannot do what is asked leaves it to the next, as in containerd. One that is a program of
its own works on the blobs of its own daemon's content: it is of use where we keep that, or it keeps ours.
"""

from __future__ import annotations

from cloche.daemon.client import Channel
from cloche.errors import ClocheError, Unavailable, Unimplemented
from cloche.store import entry_points
from cloche.wire.messages.diff import DIFF

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from cloche.api.call import Call
    from cloche.image.differs import Differ
    from cloche.wire.messages import diff as messages

    class Service(Protocol):
        """One differ, as it is asked over the API."""

        async def apply(self, call: Call, request: messages.ApplyRequest) -> messages.ApplyResponse: ...

        async def diff(self, call: Call, request: messages.DiffRequest) -> messages.DiffResponse: ...


class Differs:
    """The service. differs: in the order in which they are asked, by name."""

    SERVICE = DIFF

    def __init__(self, differs: Mapping[str, Service]) -> None:
        self._differs = differs

    async def apply(self, call: Call, request: messages.ApplyRequest) -> messages.ApplyResponse:
        """Extract a layer into a snapshot's mounts."""
        answer: messages.ApplyResponse = await self._first(call, "apply", request)
        return answer

    async def diff(self, call: Call, request: messages.DiffRequest) -> messages.DiffResponse:
        """Write what the right mounts have and the left ones have not as a layer."""
        answer: messages.DiffResponse = await self._first(call, "diff", request)
        return answer

    async def _first(self, call: Call, method: str, request: Any) -> Any:
        refusals: dict[str, ClocheError] = {}
        for name, differ in self._differs.items():
            try:
                return await getattr(differ, method)(call, request)
            except Unimplemented as error:
                refusals[name] = error
        raise Unimplemented("; ".join(f"{name}: {error}" for name, error in refusals.items()))


class RemoteDiffer:
    """A differ that is a program of its own. address: its socket."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel: Channel | None = None

    async def apply(self, call: Call, request: messages.ApplyRequest) -> messages.ApplyResponse:
        """See Differs."""
        answer: messages.ApplyResponse = await self._ask(call, "Apply", request)
        return answer

    async def diff(self, call: Call, request: messages.DiffRequest) -> messages.DiffResponse:
        """See Differs."""
        answer: messages.DiffResponse = await self._ask(call, "Diff", request)
        return answer

    async def _ask(self, call: Call, method: str, request: Any) -> Any:
        metadata = {"containerd-namespace": (call.namespace,)}
        if lease := call.header("containerd-lease"):
            metadata["containerd-lease"] = (lease,)
        if self._channel is None or not self._channel.alive:
            self._channel = await Channel.connect(self._address)
        return await self._channel.unary(DIFF, method, request, metadata=metadata)


def brought(name: str) -> Differ:
    """The differ of an installed package. Raises Unimplemented where it cannot be used, with the reason."""
    try:
        found: Differ = entry_points.made(entry_points.DIFFERS, name, ("apply", "compare"))
    except Unavailable as error:
        raise Unimplemented(str(error)) from None
    return found
