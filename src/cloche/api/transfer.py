"""Transfers: images from and to registries, archives and other names (containerd.services.transfer.v1)."""

from __future__ import annotations

import asyncio

from cloche.api.images import missing
from cloche.api.streaming import Incoming, Outgoing
from cloche.api.transfer_progress import Told
from cloche.errors import InvalidArgument, Unimplemented
from cloche.image.credentials import Credentials
from cloche.spec import platform as platforms
from cloche.spec.record import Record
from cloche.store import images as store
from cloche.wire.messages import transfer as messages
from cloche.wire.messages.google import Any, Empty
from cloche.wire.messages.metadata_events import ImageCreate, ImageUpdate
from cloche.wire.messages.transfer_service import TRANSFER, TransferRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.api.call import Call
    from cloche.api.host import Host
    from cloche.api.streaming import Streaming
    from cloche.engine.context import Context
    from cloche.image.progress import Progress
    from cloche.spec.platform import Platform
    from cloche.store.images import Image
    from cloche.store.snapshots.local import LocalSnapshotter
    from cloche.wire.protobuf import Message

_TYPES: dict[str, type[Message]] = {
    kind.FULL_NAME: kind
    for kind in (
        messages.OCIRegistry,
        messages.ImageStore,
        messages.ImageImportStream,
        messages.ImageExportStream,
    )
}


class TransferSettings(Record):
    """hosts_dir: where registries are configured, "" for the usual places.

    downloads, uploads: how many layers of an image are on their way at once. unpackings: how many of
    a pulled one are unpacked at once, 0 for a few.
    """

    hosts_dir: str = ""
    downloads: int = 3
    uploads: int = 3
    unpackings: int = 0

    def of(self, registry: messages.OCIRegistry) -> TransferSettings:
        """With what a client says of a registry."""
        told = registry.resolver.host_dir if registry.resolver else ""
        return self.replace(hosts_dir=told) if told else self


class Transfer:
    """The service. What goes together: registry and store, stream and store, store and store."""

    SERVICE = TRANSFER

    def __init__(self, host: Host, streaming: Streaming, settings: TransferSettings | None = None) -> None:
        self._host = host
        self._settings = settings or TransferSettings()
        self._streaming = streaming

    async def transfer(self, call: Call, request: TransferRequest) -> Empty:
        """Move what the source names to where the destination says."""
        source, destination = _unpacked(request.source), _unpacked(request.destination)
        context = self._host.context(call)
        name = request.options.progress_stream if request.options else ""
        stream = self._streaming.get(call.namespace, name) if name else None
        told = Told(stream)
        try:
            if isinstance(source, messages.OCIRegistry) and isinstance(destination, messages.ImageStore):
                await self._pull(call, context, source, destination, told)
            elif isinstance(source, messages.ImageStore) and isinstance(destination, messages.OCIRegistry):
                await self._push(call, context, source, destination, told)
            elif isinstance(source, messages.ImageImportStream) and isinstance(
                destination, messages.ImageStore
            ):
                await self._import(call, context, source, destination, told)
            elif isinstance(source, messages.ImageStore) and isinstance(
                destination, messages.ImageExportStream
            ):
                await self._export(call, context, source, destination, told)
            elif isinstance(source, messages.ImageStore) and isinstance(destination, messages.ImageStore):
                await call.run(self._tag, context, source, destination)
            else:
                raise Unimplemented(
                    f"transfer from {type(source).__name__} to {type(destination).__name__} is not supported"
                )
        finally:
            await told.finish()
        return Empty()

    async def _pull(
        self,
        call: Call,
        context: Context,
        source: messages.OCIRegistry,
        destination: messages.ImageStore,
        told: Told,
    ) -> None:
        told.say(f"Resolving from {source.reference}")
        auth = await self._credentials(call, source)
        told.say("fetching image content", name=source.reference)
        told.parent = destination.name or source.reference
        settings = self._settings.of(source)
        image = await call.run(_pull, context, source, destination, auth, settings, told, pool="pulls")
        for row in await call.run(self._name, context, image, destination):
            told.say("saved", name=row.name, target=row.target)
        told.say(f"Completed pull from {source.reference}")

    async def _push(
        self,
        call: Call,
        context: Context,
        source: messages.ImageStore,
        destination: messages.OCIRegistry,
        told: Told,
    ) -> None:
        auth = await self._credentials(call, destination)
        told.say(f"Pushing to {destination.reference}")
        told.parent = destination.reference
        settings = self._settings.of(destination)
        await call.run(_push, context, source, destination, auth, settings, told, pool="pulls")
        told.say(f"Completed push to {destination.reference}")

    async def _credentials(self, call: Call, registry: messages.OCIRegistry) -> Credentials | None:
        """What the client shows the registry; it is asked over a stream of its own."""
        resolver = registry.resolver
        if resolver is None or not resolver.auth_stream:
            return None
        from cloche.spec import reference as references

        stream = self._streaming.get(call.namespace, resolver.auth_stream)
        host = references.parse(registry.reference).domain
        await stream.send(messages.AuthRequest(host=host, reference=registry.reference))
        packed = await stream.receive()
        answer = messages.AuthResponse.decode(packed.value) if packed else messages.AuthResponse()
        if answer.authType == messages.CREDENTIALS:
            return Credentials(username=answer.username, password=answer.secret)
        if answer.authType == messages.REFRESH:
            return Credentials(identity_token=answer.secret)
        return None

    async def _import(
        self,
        call: Call,
        context: Context,
        source: messages.ImageImportStream,
        destination: messages.ImageStore,
        told: Told,
    ) -> None:
        told.say("Importing")
        incoming = Incoming(self._streaming.get(call.namespace, source.stream))
        pumping = asyncio.ensure_future(incoming.pump())
        try:
            rows = await call.run(_load, context, incoming, destination, pool="pulls")
        finally:
            pumping.cancel()
        for row in rows:
            for named in await call.run(self._name, context, row, destination, True):
                told.say("saved", name=named.name, target=named.target)
        told.say("Completed import")

    async def _export(
        self,
        call: Call,
        context: Context,
        source: messages.ImageStore,
        destination: messages.ImageExportStream,
        told: Told,
    ) -> None:
        told.say("Exporting")
        stream = self._streaming.get(call.namespace, destination.stream)
        outgoing = Outgoing(stream)
        pumping = asyncio.ensure_future(outgoing.pump())
        try:
            await call.run(_save, context, outgoing, source, destination, pool="pulls")
        finally:
            pumping.cancel()
            stream.close()
        told.say("Completed export")

    def _tag(self, context: Context, source: messages.ImageStore, destination: messages.ImageStore) -> None:
        with context.metadata.read() as tx:
            image = store.get(tx, context.namespace, source.name)
        if image is None:
            raise missing(source.name)
        self._name(context, image, destination)

    def _name(
        self,
        context: Context,
        image: Image,
        destination: messages.ImageStore,
        imported: bool = False,  # noqa: FBT001, FBT002 - it goes through `run`
    ) -> list[Image]:
        """Give an image the names that the destination asks for; it keeps no other of its own."""
        names = _names(image, destination, imported=imported)
        labels = dict(destination.labels)
        rows = []
        with context.metadata.write() as tx:
            known = {name: store.get(tx, context.namespace, name) for name in names}
            for name in names:
                rows.append(store.put(tx, context.namespace, image.replace(name=name, labels=labels)))
        for row in rows:
            fresh = known[row.name] is None or row.name == image.name
            kind, topic = (ImageCreate, "create") if fresh else (ImageUpdate, "update")
            self._host.publish(context.namespace, f"/images/{topic}", kind(name=row.name, labels=row.labels))
        return rows


def _names(image: Image, destination: messages.ImageStore, *, imported: bool) -> list[str]:
    names = [destination.name] if destination.name and not imported else []
    for reference in destination.extra_references:
        digested = f"{reference.name}@{image.target.digest}"
        if not reference.is_prefix:
            names.append(reference.name)
        elif imported and image.name and not (reference.add_digest and reference.skip_named_digest):
            names += [image.name] + ([digested] if reference.add_digest else [])
        elif reference.add_digest and not (imported and image.name):
            names.append(digested)
    return list(dict.fromkeys(names or [image.name]))


def _unpacked(packed: Any | None) -> Message:
    kind = _TYPES.get(packed.type_name) if packed else None
    if packed is None or kind is None:
        raise InvalidArgument(f"transfer: cannot be from or to {packed.type_name if packed else 'nothing'!r}")
    return kind.decode(packed.value)


def _platform(destination: messages.ImageStore) -> Platform | None:
    asked = list(destination.platforms) or [each.platform for each in destination.unpacks if each.platform]
    if not asked:
        return None
    found = asked[0]
    return platforms.Platform(found.os, found.architecture, found.variant)


def _snapshotter(context: Context, destination: messages.ImageStore) -> LocalSnapshotter | None:
    if not destination.unpacks:
        return None
    return context.snapshotter(destination.unpacks[0].snapshotter)


def _plain_http(registry: messages.OCIRegistry) -> bool | None:
    scheme = registry.resolver.default_scheme if registry.resolver else ""
    return {"http": True, "https": False}.get(scheme)


def _pull(
    context: Context,
    source: messages.OCIRegistry,
    destination: messages.ImageStore,
    auth: Credentials | None,
    settings: TransferSettings,
    told: Progress,
) -> Image:
    from cloche.image.pull import pull

    return pull(
        source.reference,
        content=context.content,
        metadata=context.metadata,
        namespace=context.namespace,
        snapshotter=_snapshotter(context, destination),
        platform=_platform(destination),
        auth=auth,
        plain_http=_plain_http(source),
        hosts_dir=settings.hosts_dir,
        workers=settings.downloads,
        unpackers=settings.unpackings,
        progress=told,
        owner=context.owner().name,
        verify=context.verifiers.check if context.verifiers else None,
        processors=context.processors,
    )


def _push(
    context: Context,
    source: messages.ImageStore,
    destination: messages.OCIRegistry,
    auth: Credentials | None,
    settings: TransferSettings,
    told: Progress,
) -> None:
    from cloche.image.push import push

    push(
        destination.reference,
        content=context.content,
        metadata=context.metadata,
        namespace=context.namespace,
        image=source.name,
        platform=_platform(source),
        auth=auth,
        plain_http=_plain_http(destination),
        hosts_dir=settings.hosts_dir,
        workers=settings.uploads,
        progress=told,
    )


def _load(context: Context, incoming: Incoming, destination: messages.ImageStore) -> tuple[Image, ...]:
    from cloche.image import archive

    prefix = next((each.name for each in destination.extra_references if each.is_prefix), "")
    return archive.load(
        incoming,
        content=context.content,
        metadata=context.metadata,
        namespace=context.namespace,
        snapshotter=_snapshotter(context, destination),
        platform=_platform(destination),
        base_name=prefix,
        processors=context.processors,
    )


def _save(
    context: Context,
    outgoing: Outgoing,
    source: messages.ImageStore,
    destination: messages.ImageExportStream,
) -> None:
    from cloche.image import export

    names = [source.name] if source.name else []
    names += [each.name for each in source.extra_references if not each.is_prefix]
    found = list(destination.platforms)
    platform = platforms.Platform(found[0].os, found[0].architecture, found[0].variant) if found else None
    export.save(
        names,
        outgoing.write,
        content=context.content,
        metadata=context.metadata,
        namespace=context.namespace,
        platform=platform,
    )
