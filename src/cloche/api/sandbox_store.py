"""Sandboxes as clients keep them (containerd.services.sandbox.v1.Store)."""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.spec import filters
from cloche.store import labels as label_column
from cloche.store import sandboxes as store
from cloche.store.sandboxes import Sandbox
from cloche.wire.messages import sandboxes as messages
from cloche.wire.messages import types
from cloche.wire.messages.google import Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.api.call import Call
    from cloche.api.host import Host
    from cloche.engine.context import Context


class SandboxStore:
    """The service."""

    SERVICE = messages.STORE

    def __init__(self, host: Host) -> None:
        self._host = host

    def get(self, call: Call, request: messages.StoreGetRequest) -> messages.StoreGetResponse:
        """One sandbox by its id."""
        context = self._host.context(call)
        with context.metadata.read() as tx:
            found = store.get(tx, context.namespace, request.sandbox_id)
        if found is None:
            raise store.missing(request.sandbox_id)
        return messages.StoreGetResponse(sandbox=to_message(found))

    def list(self, call: Call, request: messages.StoreListRequest) -> messages.StoreListResponse:
        """Those that the filters choose."""
        context = self._host.context(call)
        chosen = filters.parse(request.filters)
        with context.metadata.read() as tx:
            found = store.list(tx, context.namespace)
        return messages.StoreListResponse(
            list=[to_message(each) for each in found if chosen.matches(_fields(each))]
        )

    async def create(self, call: Call, request: messages.StoreCreateRequest) -> messages.StoreCreateResponse:
        """Keep a sandbox; nothing runs yet."""
        context = self._host.context(call)
        made = await call.run(_create, context, _sent(request.sandbox, context.namespace))
        return messages.StoreCreateResponse(sandbox=to_message(made))

    async def update(self, call: Call, request: messages.StoreUpdateRequest) -> messages.StoreUpdateResponse:
        """Other labels, extensions, runtime or spec: those that are named, or all."""
        context = self._host.context(call)
        sent = _sent(request.sandbox, context.namespace)
        changed = await call.run(_update, context, sent, tuple(request.fields))
        return messages.StoreUpdateResponse(sandbox=to_message(changed))

    async def delete(self, call: Call, request: messages.StoreDeleteRequest) -> messages.StoreDeleteResponse:
        """Forget a sandbox."""
        await call.run(_delete, self._host.context(call), request.sandbox_id)
        return messages.StoreDeleteResponse()


def _create(context: Context, sandbox: Sandbox) -> Sandbox:
    with context.metadata.write() as tx:
        return store.create(tx, sandbox)


def _update(context: Context, new: Sandbox, fields: Sequence[str]) -> Sandbox:
    with context.metadata.write() as tx:
        old = store.get(tx, context.namespace, new.id)
        if old is None:
            raise store.missing(new.id)
        return store.update(tx, _masked(old, new, fields or ("labels", "extensions", "spec", "runtime")))


def _masked(old: Sandbox, new: Sandbox, fields: Sequence[str]) -> Sandbox:
    kept, sent = types.Sandbox.decode(old.record), types.Sandbox.decode(new.record)
    labels = old.labels
    for path in fields:
        field, _, key = path.partition(".")
        if field == "labels":
            labels = label_column.merged(labels, {key: new.labels.get(key)}) if key else new.labels
        elif field == "extensions":
            wanted = {**kept.extensions, key: sent.extensions[key]} if key else sent.extensions
            kept.extensions = wanted
        elif path == "spec":
            kept.spec = sent.spec
        elif path == "runtime":
            kept.runtime = sent.runtime
        else:
            raise InvalidArgument(f"cannot update {path!r} field on sandbox {new.id!r}")
    return old.replace(labels=labels, record=kept.encode())


def _delete(context: Context, sandbox_id: str) -> None:
    with context.metadata.write() as tx:
        store.delete(tx, context.namespace, sandbox_id)


def _sent(message: types.Sandbox | None, namespace: str) -> Sandbox:
    if message is None:
        raise InvalidArgument("the request has no sandbox")
    # What has no column of its own.
    kept = types.Sandbox(
        runtime=message.runtime,
        spec=message.spec,
        extensions=dict(message.extensions),
        sandboxer=message.sandboxer,
    )
    return Sandbox(message.sandbox_id, namespace, dict(message.labels), kept.encode())


def to_message(sandbox: Sandbox) -> types.Sandbox:
    """A sandbox as clients get it."""
    message = types.Sandbox.decode(sandbox.record)
    message.sandbox_id = sandbox.id
    message.labels = sandbox.labels
    message.created_at = Timestamp.of(sandbox.created_at)
    message.updated_at = Timestamp.of(sandbox.updated_at)
    return message


def _fields(sandbox: Sandbox) -> filters.Fields:
    def field(path: tuple[str, ...]) -> str | None:
        if path == ("id",):
            return sandbox.id
        return filters.in_map(path[1:], sandbox.labels) if path[0] == "labels" else None

    return field
