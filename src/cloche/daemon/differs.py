"""The diff service where there are several differs: asked in the order that the configuration has.

Each that says it cannot do what is asked leaves it to the next, as in containerd. One that is a program of
its own works on the blobs of its own daemon's content: it is of use where we keep that, or it keeps ours.
"""

from __future__ import annotations

from cloche.daemon.client import Channel
from cloche.errors import ClocheError, Unavailable, Unimplemented
from cloche.store import blob_labels, entry_points
from cloche.store.references import ROOT_LABEL
from cloche.wire.messages.diff import DIFF

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from cloche.api.call import Call
    from cloche.api.host import Host
    from cloche.image.differs import Differ
    from cloche.store.elsewhere import Place
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
    """A differ that is a program of its own.

    address: its socket. keeper: who keeps our content, if not we: there the differ finds our blobs, in the
    namespace that is ours.
    """

    def __init__(self, host: Host, address: str, keeper: Place | None) -> None:
        self._host = host
        self._address = address
        self._keeper = keeper
        self._channel: Channel | None = None

    async def apply(self, call: Call, request: messages.ApplyRequest) -> messages.ApplyResponse:
        """See Differs."""
        answer: messages.ApplyResponse = await self._ask(call, "Apply", request)
        return answer

    async def diff(self, call: Call, request: messages.DiffRequest) -> messages.DiffResponse:
        """See Differs."""
        labels = dict(request.labels)
        if self._keeper is not None:
            request.labels = {**labels, ROOT_LABEL: "cloche"}
        answer: messages.DiffResponse = await self._ask(call, "Diff", request)
        if self._keeper is not None and answer.diff is not None:
            await call.run(self._note, call, answer.diff.digest, labels)
        return answer

    def _note(self, call: Call, digest: str, labels: Mapping[str, str]) -> None:
        context = self._host.context(call)
        with context.metadata.write() as tx:
            blob_labels.update(tx, context.namespace, digest, dict(labels))
            self._host.lease(tx, call, "content", digest)

    async def _ask(self, call: Call, method: str, request: Any) -> Any:
        # A lease is one of ours, and nobody there knows it.
        namespace = self._keeper.namespace if self._keeper else call.namespace
        metadata = {"containerd-namespace": (namespace,)}
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
