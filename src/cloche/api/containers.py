"""Containers: what was asked for (containerd.services.containers.v1)."""

from __future__ import annotations

from cloche.engine.kept import Kept
from cloche.errors import FailedPrecondition, InvalidArgument, NotFound
from cloche.spec import filters
from cloche.spec.document import dumps
from cloche.store import containers as store
from cloche.store import labels as label_column
from cloche.store.containers import SPEC_TYPE, Container
from cloche.wire.messages import containers as messages
from cloche.wire.messages.google import Any, Empty, Timestamp
from cloche.wire.messages.metadata_events import (
    ContainerCreate,
    ContainerCreateRuntime,
    ContainerDelete,
    ContainerUpdate,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from cloche.api.call import Call
    from cloche.api.host import Host
    from cloche.engine.context import Context

DEFAULT_RUNTIME = "io.containerd.runc.v2"


class Containers:
    """The service."""

    SERVICE = messages.CONTAINERS

    def __init__(self, host: Host) -> None:
        self._host = host

    def get(self, call: Call, request: messages.GetContainerRequest) -> messages.GetContainerResponse:
        """One container by its id."""
        context = self._host.context(call)
        with context.metadata.read() as tx:
            row = store.get(tx, context.namespace, request.id)
        if row is None:
            raise missing(request.id, context.namespace)
        return messages.GetContainerResponse(container=to_message(_with_spec(context, row)))

    def list(self, call: Call, request: messages.ListContainersRequest) -> messages.ListContainersResponse:
        """Those that the filters choose."""
        return messages.ListContainersResponse(containers=self._chosen(call, request.filters))

    async def list_stream(
        self, call: Call, request: messages.ListContainersRequest
    ) -> AsyncIterator[messages.ListContainerMessage]:
        """The same, one by one."""
        for container in self._chosen(call, request.filters):
            yield messages.ListContainerMessage(container=container)

    def _chosen(self, call: Call, texts: Sequence[str]) -> Sequence[messages.Container]:
        context = self._host.context(call)
        chosen = filters.parse(texts)
        with context.metadata.read() as tx:
            rows = store.list(tx, context.namespace)
        return [to_message(row) for row in rows if not chosen or chosen.matches(_fields(row))]

    async def create(
        self, call: Call, request: messages.CreateContainerRequest
    ) -> messages.CreateContainerResponse:
        """A new container; nothing runs yet."""
        context = self._host.context(call)
        row = from_message(request.container, context.namespace)
        made = await call.run(self._create, context, row)
        return messages.CreateContainerResponse(container=to_message(made))

    def _create(self, context: Context, row: Container) -> Container:
        _validate(row)
        with context.metadata.write() as tx:
            made = store.create(tx, row)
        kept = _extras(made)
        runtime = ContainerCreateRuntime(name=made.runtime)
        if kept.runtime and kept.runtime.options:
            runtime.options = kept.runtime.options
        event = ContainerCreate(id=made.id, image=made.image, runtime=runtime)
        self._host.publish(context.namespace, "/containers/create", event)
        return made

    async def update(
        self, call: Call, request: messages.UpdateContainerRequest
    ) -> messages.UpdateContainerResponse:
        """Other labels, spec, extensions, image or snapshot key."""
        context = self._host.context(call)
        row = from_message(request.container, context.namespace)
        paths = request.update_mask.paths if request.update_mask else ()
        changed = await call.run(self._update, context, row, paths)
        return messages.UpdateContainerResponse(container=to_message(changed))

    def _update(self, context: Context, new: Container, paths: Sequence[str]) -> Container:
        if not new.id:
            raise InvalidArgument("must specify a container id")
        with context.metadata.write() as tx:
            old = store.get(tx, context.namespace, new.id)
            if old is None:
                raise missing(new.id, context.namespace)
            row = masked(old, new, paths)
            _validate(row)
            changed = store.update(tx, row)
        event = ContainerUpdate(
            id=changed.id, image=changed.image, labels=changed.labels, snapshot_key=changed.snapshot_key
        )
        self._host.publish(context.namespace, "/containers/update", event)
        return changed

    async def delete(self, call: Call, request: messages.DeleteContainerRequest) -> Empty:
        """Forget a container that has no task."""
        await call.run(self._delete, self._host.context(call), request.id)
        return Empty()

    def _delete(self, context: Context, container_id: str) -> None:
        with context.metadata.write() as tx:
            row = store.get(tx, context.namespace, container_id)
            if row is None:
                raise missing(container_id, context.namespace)
            if row.options:
                raise FailedPrecondition(
                    f"container {container_id!r} is the engine's: remove it with `cloche rm {container_id}`"
                )
            store.delete(tx, context.namespace, container_id)
        self._host.publish(context.namespace, "/containers/delete", ContainerDelete(id=container_id))
        self._host.on_garbage(())


def missing(container_id: str, namespace: str) -> NotFound:
    """That there is no such container."""
    return NotFound(f"container {container_id!r} in namespace {namespace!r}: not found")


def _with_spec(context: Context, row: Container) -> Container:
    """An engine's container gets its spec at its start: it is in the bundle while it runs."""
    if row.spec:
        return row
    try:
        with open(f"{context.bundle(row.id)}/config.json", "rb") as file:
            return row.replace(spec=file.read())
    except FileNotFoundError:
        process = {"args": list(Kept.of(row).options.args), "cwd": "/"}
        return row.replace(spec=dumps({"ociVersion": "1.0.2", "process": process}))


def to_message(row: Container) -> messages.Container:
    """A container as clients get it."""
    kept = _extras(row)
    runtime = messages.ContainerRuntime(name=row.runtime or DEFAULT_RUNTIME)
    if kept.runtime and kept.runtime.options:
        runtime.options = kept.runtime.options
    spec_type = kept.spec.type_url if kept.spec else SPEC_TYPE
    return messages.Container(
        id=row.id,
        labels=row.labels,
        image=row.image,
        runtime=runtime,
        spec=Any(type_url=spec_type, value=row.spec),
        snapshotter=row.snapshotter,
        snapshot_key=row.snapshot_key,
        created_at=Timestamp.of(row.created_at),
        updated_at=Timestamp.of(row.updated_at),
        extensions=kept.extensions,
        sandbox=row.sandbox,
    )


def from_message(message: messages.Container | None, namespace: str) -> Container:
    """A container as a client sent it. Raises InvalidArgument where there is none."""
    if message is None:
        raise InvalidArgument("the request has no container")
    runtime = message.runtime or messages.ContainerRuntime()
    spec = message.spec or Any()
    # What has no column of its own.
    kept = messages.Container(spec=Any(type_url=spec.type_url), extensions=dict(message.extensions))
    if runtime.options is not None:
        kept.runtime = messages.ContainerRuntime(options=runtime.options)
    return Container(
        id=message.id,
        namespace=namespace,
        image=message.image,
        snapshotter=message.snapshotter,
        snapshot_key=message.snapshot_key,
        labels=dict(message.labels),
        spec=spec.value,
        runtime=runtime.name,
        sandbox=message.sandbox,
        extensions=kept.encode(),
    )


def _extras(row: Container) -> messages.Container:
    return messages.Container.decode(row.extensions)


def options_of(row: Container) -> Any | None:
    """The runtime options that a container was made with."""
    runtime = _extras(row).runtime
    return runtime.options if runtime else None


def _validate(row: Container) -> None:
    if not row.runtime:
        raise InvalidArgument("container.Runtime.Name must be set")
    if not row.spec:
        raise InvalidArgument("container.Spec must be set")
    if row.snapshot_key and not row.snapshotter:
        raise InvalidArgument("container.Snapshotter must be set if container.SnapshotKey is set")
    if "" in _extras(row).extensions:
        raise InvalidArgument("container.Extension keys must not be zero-length")


def masked(old: Container, new: Container, paths: Sequence[str]) -> Container:
    """The old container with those fields of the new one that the paths name, or all that may change.

    Raises InvalidArgument for a field that cannot be changed.
    """
    if not paths:
        for field in ("snapshotter", "runtime"):
            if getattr(old, field) != getattr(new, field):
                name = {"snapshotter": "Snapshotter", "runtime": "Runtime.Name"}[field]
                raise InvalidArgument(f"container.{name} field is immutable")
        paths = ("labels", "spec", "extensions", "image", "snapshotkey")
    for path in paths:
        old = _changed(old, new, path)
    return old


def _changed(old: Container, new: Container, path: str) -> Container:
    field, _, key = path.partition(".")
    if field == "labels":
        wanted: Mapping[str, str] = new.labels
        return old.replace(labels=label_column.merged(old.labels, {key: wanted.get(key)}) if key else wanted)
    if field == "extensions":
        kept, sent = _extras(old), _extras(new).extensions
        kept.extensions = {**kept.extensions, key: sent.get(key, Any())} if key else sent
        return old.replace(extensions=kept.encode())
    if path == "spec":
        kept, sent_spec = _extras(old), _extras(new).spec
        kept.spec = sent_spec
        return old.replace(spec=new.spec, extensions=kept.encode())
    if path == "image":
        return old.replace(image=new.image)
    if path == "snapshotkey":
        return old.replace(snapshot_key=new.snapshot_key)
    raise InvalidArgument(f"cannot update {path!r} field on {new.id!r}")


def _fields(row: Container) -> filters.Fields:
    def field(path: tuple[str, ...]) -> str | None:
        if path == ("id",):
            return row.id
        if path == ("runtime", "name"):
            return row.runtime or DEFAULT_RUNTIME
        if path == ("image",):
            return row.image or None
        if path[0] == "labels":
            return filters.in_map(path[1:], row.labels)
        return None

    return field
