"""Namespaces: separate sets of names (containerd.services.namespaces.v1)."""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.store import labels as label_column
from cloche.store import namespaces as store
from cloche.wire.messages import namespaces as messages
from cloche.wire.messages.google import Empty
from cloche.wire.messages.metadata_events import NamespaceCreate, NamespaceDelete, NamespaceUpdate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.api.call import Call
    from cloche.api.host import Host


class Namespaces:
    """The service. It is about namespaces, so it needs none to be called in."""

    SERVICE = messages.NAMESPACES

    def __init__(self, host: Host) -> None:
        self._host = host
        self._metadata = host.all().metadata

    def get(self, call: Call, request: messages.GetNamespaceRequest) -> messages.GetNamespaceResponse:
        """One namespace with its labels.

        One that nobody made yet has none, as in containerd: clients ask before they use one.
        """
        with self._metadata.read() as tx:
            labels = store.get(tx, request.name) or {}
        return messages.GetNamespaceResponse(namespace=messages.Namespace(name=request.name, labels=labels))

    def list(self, call: Call, request: messages.ListNamespacesRequest) -> messages.ListNamespacesResponse:
        """All of them."""
        with self._metadata.read() as tx:
            found = [messages.Namespace(name=name, labels=store.get(tx, name)) for name in store.list(tx)]
        return messages.ListNamespacesResponse(namespaces=found)

    async def create(
        self, call: Call, request: messages.CreateNamespaceRequest
    ) -> messages.CreateNamespaceResponse:
        """A new one, empty."""
        namespace = _sent(request.namespace)
        await call.run(self._create, namespace)
        return messages.CreateNamespaceResponse(namespace=namespace)

    def _create(self, namespace: messages.Namespace) -> None:
        with self._metadata.write() as tx:
            store.create(tx, namespace.name, namespace.labels)
        event = NamespaceCreate(name=namespace.name, labels=namespace.labels)
        self._host.publish(namespace.name, "/namespaces/create", event)

    async def update(
        self, call: Call, request: messages.UpdateNamespaceRequest
    ) -> messages.UpdateNamespaceResponse:
        """Other labels: all, or those that the mask names."""
        namespace = _sent(request.namespace)
        paths = tuple(request.update_mask.paths) if request.update_mask else ()
        labels = await call.run(self._update, namespace, paths)
        changed = messages.Namespace(name=namespace.name, labels=labels)
        return messages.UpdateNamespaceResponse(namespace=changed)

    def _update(self, namespace: messages.Namespace, paths: tuple[str, ...]) -> dict[str, str]:
        with self._metadata.write() as tx:
            store.ensure(tx, namespace.name)
            labels = store.get(tx, namespace.name) or {}
            for path in paths:
                field, _, key = path.partition(".")
                if field != "labels":
                    raise InvalidArgument(f"cannot update {path!r} field on namespace {namespace.name!r}")
                sent = {key: namespace.labels.get(key)} if key else None
                labels = label_column.merged(labels, sent) if sent else dict(namespace.labels)
            if not paths:
                labels = label_column.merged({}, namespace.labels)
            store.update(tx, namespace.name, labels)
        event = NamespaceUpdate(name=namespace.name, labels=labels)
        self._host.publish(namespace.name, "/namespaces/update", event)
        return labels

    async def delete(self, call: Call, request: messages.DeleteNamespaceRequest) -> Empty:
        """Remove an empty one."""
        await call.run(self._delete, request.name)
        return Empty()

    def _delete(self, name: str) -> None:
        with self._metadata.write() as tx:
            store.delete(tx, name)
        self._host.publish(name, "/namespaces/delete", NamespaceDelete(name=name))


def _sent(namespace: messages.Namespace | None) -> messages.Namespace:
    if namespace is None:
        raise InvalidArgument("the request has no namespace")
    return namespace
