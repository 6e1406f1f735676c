"""Snapshotters that are programs of their own: `[proxy_plugins.NAME]` with type "snapshot" and an address.

A call that names one goes to it as it is, but for the keys: such a program serves all namespaces from one
store, so each key carries its namespace before it, there and on the way back only. What is in such a store
is removed by those who made it: the collector does not know it.
"""

from __future__ import annotations

from cloche.daemon.proxied import Proxied, metadata_of
from cloche.wire.messages import snapshots as messages
from cloche.wire.messages.metadata_events import SnapshotCommit, SnapshotPrepare, SnapshotRemove
from cloche.wire.messages.snapshots import SNAPSHOTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from cloche.api.call import Call
    from cloche.wire.protobuf import Message

_KEYS = ("key", "parent", "name")


class ProxiedSnapshots(Proxied):
    """The snapshot service."""

    SERVICE = SNAPSHOTS
    FIELD = "snapshotter"

    def _pass_on(self, call: Call, method: str, request: Any) -> Any:
        if method == "List":
            return self._list(call, request)
        return self._forward(call, method, request)

    async def _forward(self, call: Call, method: str, request: Any) -> Message:
        namespace = self._host.context(call).namespace
        channel = await self._channel(request.snapshotter)
        sent = _prefixed(request, f"{namespace}/")
        answer = await channel.unary(SNAPSHOTS, method, sent, metadata=metadata_of(namespace))
        self._tell(namespace, method, request)
        made: Message = _stripped(answer, f"{namespace}/")
        return made

    async def _list(
        self, call: Call, request: messages.ListSnapshotsRequest
    ) -> AsyncIterator[messages.ListSnapshotsResponse]:
        namespace = self._host.context(call).namespace
        prefix = f"{namespace}/"
        channel = await self._channel(request.snapshotter)
        async with channel.call(SNAPSHOTS, "List", metadata=metadata_of(namespace)) as stream:
            await stream.send(request)
            stream.end()
            async for answer in stream:
                own = [each for each in answer.info if each.name.startswith(prefix)]
                yield messages.ListSnapshotsResponse(info=[_stripped_info(each, prefix) for each in own])

    def _tell(self, namespace: str, method: str, request: Any) -> None:
        name = request.snapshotter
        if method in ("Prepare", "View"):
            event: Message = SnapshotPrepare(key=request.key, parent=request.parent, snapshotter=name)
            self._host.publish(namespace, "/snapshot/prepare", event)
        elif method == "Commit":
            event = SnapshotCommit(key=request.key, name=request.name, snapshotter=name)
            self._host.publish(namespace, "/snapshot/commit", event)
        elif method == "Remove":
            event = SnapshotRemove(key=request.key, snapshotter=name)
            self._host.publish(namespace, "/snapshot/remove", event)


def _prefixed(request: Any, prefix: str) -> Any:
    """A copy of a request whose keys carry the namespace."""
    sent = type(request).decode(request.encode())
    for field in _KEYS:
        value = getattr(sent, field, "")
        if value:
            setattr(sent, field, prefix + value)
    if isinstance(sent, messages.UpdateSnapshotRequest) and sent.info is not None:
        sent.info.name = prefix + sent.info.name
    return sent


def _stripped(answer: Any, prefix: str) -> Any:
    info = getattr(answer, "info", None)
    if isinstance(info, messages.Info):
        answer.info = _stripped_info(info, prefix)
    return answer


def _stripped_info(info: messages.Info, prefix: str) -> messages.Info:
    info.name, info.parent = info.name.removeprefix(prefix), info.parent.removeprefix(prefix)
    return info
