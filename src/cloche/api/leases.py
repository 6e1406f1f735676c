"""Leases: what must not be collected (containerd.services.leases.v1)."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial

from cloche.errors import Unavailable
from cloche.spec import filters
from cloche.store import leases as store
from cloche.store.leases import Lease, Resource
from cloche.wire.messages import leases as messages
from cloche.wire.messages.google import Empty, Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from cloche.api.call import Call
    from cloche.api.host import Host
    from cloche.engine.context import Context
    from cloche.store.metadata import WriteTransaction

    _R = TypeVar("_R")


class Leases:
    """The service."""

    SERVICE = messages.LEASES

    def __init__(self, host: Host) -> None:
        self._host = host

    async def create(self, call: Call, request: messages.CreateRequest) -> messages.CreateResponse:
        """A new lease; one without an id gets a name of its own."""
        context = self._host.context(call)
        lease_id = request.id or f"{os.getpid()}-{os.urandom(6).hex()}"
        lease = Lease(lease_id, context.namespace, dict(request.labels))
        # One that ends by itself is a client's, for as long as its work takes: no power cut is survived.
        lasting = store.EXPIRE_LABEL not in lease.labels
        made = await _written(call, partial(_create, context, lease), lasting=lasting)
        return messages.CreateResponse(lease=_to_message(made))

    async def delete(self, call: Call, request: messages.DeleteRequest) -> Empty:
        """End a lease; sync: what only it kept is gone when this returns."""
        context = self._host.context(call)
        with context.metadata.read() as tx:
            lease = store.get(tx, context.namespace, request.id)
        # Were the end of such a lease lost in a power cut, it would come by itself.
        lasting = lease is None or not lease.expires_at
        released = await _written(call, partial(_delete, context, request.id), lasting=lasting)
        if request.sync:
            from cloche.engine.image_removal import collect_released
            from cloche.store.collect import released_now

            await call.run(collect_released, context, released_now(*released))
        else:
            self._host.on_garbage(released)
        return Empty()

    def list(self, call: Call, request: messages.ListRequest) -> messages.ListResponse:
        """Those that the filters choose."""
        context = self._host.context(call)
        chosen = filters.parse(request.filters)
        with context.metadata.read() as tx:
            found = store.list(tx, context.namespace)
        return messages.ListResponse(
            leases=[_to_message(lease) for lease in found if chosen.matches(_fields(lease))]
        )

    async def add_resource(self, call: Call, request: messages.AddResourceRequest) -> Empty:
        """Have a lease keep something."""
        await self._change(call, store.add, request.id, request.resource)
        return Empty()

    async def delete_resource(self, call: Call, request: messages.DeleteResourceRequest) -> Empty:
        """Have a lease keep something no longer."""
        await self._change(call, store.drop, request.id, request.resource)
        return Empty()

    async def _change(
        self,
        call: Call,
        change: Callable[[WriteTransaction, str, str, Resource], None],
        lease_id: str,
        sent: messages.Resource | None,
    ) -> None:
        context = self._host.context(call)
        resource = Resource(sent.type, sent.id) if sent else Resource("", "")
        await call.run(_apply, context, change, lease_id, resource)

    def list_resources(
        self, call: Call, request: messages.ListResourcesRequest
    ) -> messages.ListResourcesResponse:
        """What a lease keeps."""
        context = self._host.context(call)
        with context.metadata.read() as tx:
            found = store.resources(tx, context.namespace, request.id)
        return messages.ListResourcesResponse(
            resources=[messages.Resource(id=each.resource, type=each.kind) for each in found]
        )


async def _written(call: Call, write: Callable[..., _R], *, lasting: bool) -> _R:
    """What write(lasting=, patient=) comes to, which is one transaction.

    Without waiting for the disk it takes less time than a thread takes to wake up, so that is tried here.
    """
    if not lasting:
        with suppress(Unavailable):  # others are writing: it is a thread that waits for them
            return write(lasting=False, patient=False)
    return await call.run(partial(write, lasting=lasting, patient=True))


def _create(context: Context, lease: Lease, *, lasting: bool, patient: bool) -> Lease:
    with context.metadata.write(durable=lasting, patient=patient) as tx:
        return store.create(tx, lease)


def _delete(context: Context, lease_id: str, *, lasting: bool, patient: bool) -> tuple[str, ...]:
    """End a lease; returns the digests that it kept."""
    with context.metadata.write(durable=lasting, patient=patient) as tx:
        kept = store.resources(tx, context.namespace, lease_id)
        store.delete(tx, context.namespace, lease_id)
    return tuple(each.resource for each in kept if each.kind == "content")


def _apply(
    context: Context,
    change: Callable[[WriteTransaction, str, str, Resource], None],
    lease_id: str,
    resource: Resource,
) -> None:
    with context.metadata.write() as tx:
        change(tx, context.namespace, lease_id, resource)


def _to_message(lease: Lease) -> messages.Lease:
    return messages.Lease(id=lease.id, created_at=Timestamp.of(lease.created_at), labels=lease.labels)


def _fields(lease: Lease) -> filters.Fields:
    def field(path: tuple[str, ...]) -> str | None:
        if path == ("id",):
            return lease.id
        return filters.in_map(path[1:], lease.labels) if path[0] == "labels" else None

    return field
