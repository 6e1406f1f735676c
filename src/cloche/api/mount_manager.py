"""Mounts that the daemon makes and holds for clients (containerd.services.mounts.v1)."""

from __future__ import annotations

from cloche.api.mounts import from_messages, to_messages
from cloche.engine.activations import Activation, Activations
from cloche.errors import InvalidArgument
from cloche.spec import filters
from cloche.wire.messages import mounts as messages
from cloche.wire.messages import types
from cloche.wire.messages.google import Empty, Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cloche.api.call import Call
    from cloche.api.host import Host


class Mounts:
    """The service. A lease of the caller's keeps what it activates."""

    SERVICE = messages.MOUNTS

    def __init__(self, host: Host) -> None:
        self._host = host
        self._activations = Activations(host.all().state)

    async def activate(self, call: Call, request: messages.ActivateRequest) -> messages.ActivateResponse:
        """Make what the caller cannot mount; Unimplemented where it can mount everything."""
        context = self._host.context(call)
        wanted = Activation(
            request.name,
            context.namespace,
            labels=dict(request.labels),
            lease=call.header("containerd-lease"),
        )
        mounts = from_messages(request.mounts)
        found = await call.run(
            lambda: self._activations.activate(wanted, mounts, temporary=request.temporary),
            lane=("mounts", context.namespace, request.name),
        )
        return messages.ActivateResponse(info=_to_message(found))

    async def deactivate(self, call: Call, request: messages.DeactivateRequest) -> Empty:
        """Unmount what is active under a name."""
        key = (self._host.context(call).namespace, request.name)
        await call.run(self._activations.deactivate, *key, lane=("mounts", *key))
        return Empty()

    async def info(self, call: Call, request: messages.InfoRequest) -> messages.InfoResponse:
        """What is active under a name."""
        namespace = self._host.context(call).namespace
        found = await call.run(self._activations.get, namespace, request.name)
        return messages.InfoResponse(info=_to_message(found))

    async def update(self, call: Call, request: messages.UpdateRequest) -> messages.UpdateResponse:
        """Other labels: those that the mask names, or all."""
        namespace = self._host.context(call).namespace
        sent = request.info or types.ActivationInfo()
        paths = list(request.update_mask.paths) if request.update_mask else []
        for path in paths:
            if path.partition(".")[0] != "labels":
                raise InvalidArgument(f"cannot update {path!r} field on mount {sent.name!r}")

        def change() -> Activation:
            labels = dict(self._activations.get(namespace, sent.name).labels)
            if not paths or "labels" in paths:
                labels = dict(sent.labels)
            for key in (path.partition(".")[2] for path in paths if path != "labels"):
                labels[key] = sent.labels.get(key, "")
            kept = {key: value for key, value in labels.items() if value}
            return self._activations.label(namespace, sent.name, kept)

        found = await call.run(change, lane=("mounts", namespace, sent.name))
        return messages.UpdateResponse(info=_to_message(found))

    async def list(self, call: Call, request: messages.ListRequest) -> AsyncIterator[messages.ListMessage]:
        """What is active and the filters choose."""
        chosen = filters.parse(request.filters)
        namespace = self._host.context(call).namespace
        for found in await call.run(lambda: tuple(self._activations.list(namespace))):
            if chosen.matches(_fields(found)):
                yield messages.ListMessage(info=_to_message(found))


def _to_message(found: Activation) -> types.ActivationInfo:
    active = [
        types.ActiveMount(
            mount=to_messages([each.mount])[0],
            mounted_at=Timestamp.of(each.made_at),
            mount_point=each.place,
        )
        for each in found.active
    ]
    return types.ActivationInfo(
        name=found.name, active=active, system=to_messages(found.system), labels=found.labels
    )


def _fields(found: Activation) -> filters.Fields:
    def field(path: tuple[str, ...]) -> str | None:
        if path == ("name",):
            return found.name
        return filters.in_map(path[1:], found.labels) if path[0] == "labels" else None

    return field
