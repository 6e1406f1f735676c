"""The diff service where differs are programs of their own: asked in the order that the configuration has.

Each that says it cannot do what is asked leaves it to the next, as in containerd. A differ works on the blobs
of its own daemon's content: it is of use where that is kept by us, or our content by it.
"""

from __future__ import annotations

from cloche.daemon.client import Channel
from cloche.daemon.proxy_plugins import OWN_DIFFER
from cloche.errors import Unimplemented
from cloche.wire.messages.diff import DIFF

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from cloche.api.call import Call
    from cloche.api.diff import Diff as OwnDiff
    from cloche.wire.messages import diff as messages


class ProxiedDiffs:
    """The service. order: names of differs. addresses: sockets of those that are not ours, by name."""

    SERVICE = DIFF

    def __init__(self, ours: OwnDiff, order: Sequence[str], addresses: Mapping[str, str]) -> None:
        self._ours = ours
        self._order = order
        self._addresses = addresses
        self._channels: dict[str, Channel] = {}

    async def apply(self, call: Call, request: messages.ApplyRequest) -> messages.ApplyResponse:
        """Extract a layer into a snapshot's mounts."""
        answer: messages.ApplyResponse = await self._first(call, "Apply", request)
        return answer

    async def diff(self, call: Call, request: messages.DiffRequest) -> messages.DiffResponse:
        """Write what the right mounts have and the left ones have not as a layer."""
        answer: messages.DiffResponse = await self._first(call, "Diff", request)
        return answer

    async def _first(self, call: Call, method: str, request: Any) -> Any:
        refusals = []
        for name in self._order:
            try:
                if name == OWN_DIFFER:
                    return await getattr(self._ours, method.lower())(call, request)
                return await self._ask(call, name, method, request)
            except Unimplemented as error:
                refusals.append(f"{name}: {error}")
        raise Unimplemented("; ".join(refusals))

    async def _ask(self, call: Call, name: str, method: str, request: Any) -> Any:
        metadata = {"containerd-namespace": (call.namespace,)}
        if lease := call.header("containerd-lease"):
            metadata["containerd-lease"] = (lease,)
        found = self._channels.get(name)
        if found is None or not found.alive:
            found = self._channels[name] = await Channel.connect(self._addresses[name])
        return await found.unary(DIFF, method, request, metadata=metadata)
