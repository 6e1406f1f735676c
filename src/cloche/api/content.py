"""Content: blobs by digest, and how they arrive (containerd.services.content.v1)."""

from __future__ import annotations

import os
from contextlib import suppress

from cloche.api.ingest import Ingest, ref_in
from cloche.errors import InvalidArgument, NotFound
from cloche.spec import digest as digests
from cloche.spec import filters
from cloche.store import blob_labels
from cloche.store import labels as label_column
from cloche.wire.messages import content as messages
from cloche.wire.messages.google import Empty, Timestamp
from cloche.wire.messages.metadata_events import ContentDelete
from cloche.wire.status import OUT_OF_RANGE, StatusError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cloche.api.call import Call
    from cloche.api.host import Host
    from cloche.engine.context import Context
    from cloche.store.blob_labels import Note
    from cloche.store.ingest import Status

BLOCK_ENTRIES = 100
_CHUNK_BYTES = 1 << 20
_SMALL_BYTES = 1 << 16


class Content:
    """The service."""

    SERVICE = messages.CONTENT

    def __init__(self, host: Host) -> None:
        self._host = host

    def info(self, call: Call, request: messages.InfoRequest) -> messages.InfoResponse:
        """One blob: its size, its times and the namespace's labels."""
        context = self._host.context(call)
        return messages.InfoResponse(info=_info(context, need(context, request.digest)))

    async def update(self, call: Call, request: messages.UpdateRequest) -> messages.UpdateResponse:
        """Other labels: all, or those that the mask names."""
        sent = request.info or messages.Info()
        paths = tuple(request.update_mask.paths) if request.update_mask else ()
        context = self._host.context(call)
        changed = await call.run(lambda: _info(context, self._update(context, sent, paths)))
        return messages.UpdateResponse(info=changed)

    def _update(self, context: Context, sent: messages.Info, paths: tuple[str, ...]) -> Note:
        digest = digests.validate(sent.digest)
        old = need(context, digest)
        labels = dict(old.labels)
        for path in paths or ("labels",):
            field, _, key = path.partition(".")
            if field != "labels":
                raise InvalidArgument(f"cannot update {path!r} field on content info {digest!r}")
            labels = label_column.merged(labels, {key: sent.labels.get(key)}) if key else dict(sent.labels)
        changes: dict[str, str | None] = {**dict.fromkeys(old.labels), **labels}
        with context.metadata.write() as tx:
            blob_labels.update(tx, context.namespace, digest, changes)
        return need(context, digest)

    async def list(
        self, call: Call, request: messages.ListContentRequest
    ) -> AsyncIterator[messages.ListContentResponse]:
        """The namespace's blobs that the filters choose, a hundred a message."""
        context = self._host.context(call)
        chosen = filters.parse(request.filters)
        with context.metadata.read() as tx:
            notes = blob_labels.notes(tx, context.namespace)
        block: list[messages.Info] = []
        for note in notes:
            try:
                found = _info(context, note)
            except NotFound:
                continue
            if chosen.matches(fields(found)):
                block.append(found)
            if len(block) == BLOCK_ENTRIES:
                yield messages.ListContentResponse(info=block)
                block = []
        if block:
            yield messages.ListContentResponse(info=block)

    async def delete(self, call: Call, request: messages.DeleteContentRequest) -> Empty:
        """Remove a blob from this namespace; from the disk where no other has it."""
        context = self._host.context(call)
        await call.run(self._delete, context, digests.validate(request.digest))
        return Empty()

    def _delete(self, context: Context, digest: str) -> None:
        need(context, digest)
        with context.metadata.write() as tx:
            blob_labels.delete(tx, context.namespace, digest)
            others = tx.first("SELECT 1 FROM blob_labels WHERE digest = ? LIMIT 1", (digest,))
            if others is None:
                # Not after it: who notes the blob next must not find it on its way out.
                with suppress(NotFound):
                    context.content.delete(digest)
        self._host.publish(context.namespace, "/content/delete", ContentDelete(digest=digest))

    def read(
        self, call: Call, request: messages.ReadContentRequest
    ) -> tuple[messages.ReadContentResponse, ...] | AsyncIterator[messages.ReadContentResponse]:
        """A blob's bytes, or size of them from an offset on."""
        context = self._host.context(call)
        if not blob_labels.has(context.metadata.reader(), context.namespace, request.digest):
            need(context, request.digest)
        descriptor = context.content.open(request.digest)
        try:
            position, end = part(request, os.fstat(descriptor).st_size)
            if end - position <= _SMALL_BYTES:
                data = os.pread(descriptor, end - position, position)
                return (messages.ReadContentResponse(data=data),) if data else ()
        finally:
            os.close(descriptor)
        return _chunks(context, call, request.digest, position, end)

    def status(self, call: Call, request: messages.StatusRequest) -> messages.StatusResponse:
        """One ingest of the namespace."""
        context = self._host.context(call)
        found = context.content.status(ref_in(context.namespace, request.ref))
        return messages.StatusResponse(status=_status(found, request.ref))

    def list_statuses(
        self, call: Call, request: messages.ListStatusesRequest
    ) -> messages.ListStatusesResponse:
        """The namespace's ingests that the filters choose."""
        context = self._host.context(call)
        chosen = filters.parse(request.filters)
        prefix = ref_in(context.namespace, "")
        found = []
        for each in context.content.ingests():
            ref = each.ref.removeprefix(prefix)
            if ref != each.ref and chosen.matches(_ref_field(ref)):
                found.append(_status(each, ref))
        return messages.ListStatusesResponse(statuses=found)

    async def abort(self, call: Call, request: messages.AbortRequest) -> Empty:
        """Forget an interrupted ingest."""
        context = self._host.context(call)
        await call.run(context.content.abort, ref_in(context.namespace, request.ref))
        return Empty()

    async def write(self, call: Call) -> None:
        """Receive a blob in pieces."""
        first: messages.WriteContentRequest | None = await call.receive()
        if first is None:
            raise InvalidArgument("first message must have a reference")
        arriving = self._arriving(call, first)
        await arriving.open()
        try:
            request: messages.WriteContentRequest | None = first
            while request is not None:
                await call.send(await arriving.take(request))
                if request.action == messages.COMMIT:
                    break
                request = await call.receive()
        finally:
            arriving.close()

    def _arriving(self, call: Call, first: messages.WriteContentRequest) -> Ingest:
        return Ingest(self._host, call, self._host.context(call), first)


def part(request: messages.ReadContentRequest, length: int) -> tuple[int, int]:
    """Where what a client wants of a blob begins and ends. Raises StatusError."""
    position = max(0, request.offset)
    if position > length:
        raise StatusError(OUT_OF_RANGE, f"content {request.digest}: read past object length {length} bytes")
    return position, min(length, position + (request.size if request.size > 0 else length))


async def _chunks(
    context: Context, call: Call, digest: str, position: int, end: int
) -> AsyncIterator[messages.ReadContentResponse]:
    descriptor = context.content.open(digest)
    try:
        sent = 0
        while position < end:
            data = await call.run(os.pread, descriptor, min(_CHUNK_BYTES, end - position), position)
            if not data:
                break
            yield messages.ReadContentResponse(offset=sent, data=data)
            position += len(data)
            sent += len(data)
    finally:
        os.close(descriptor)


def need(context: Context, digest: str) -> Note:
    """What the namespace knows of a blob. Raises NotFound, InvalidArgument."""
    digests.validate(digest)
    note = blob_labels.note(context.metadata.reader(), context.namespace, digest)
    if note is None:
        raise NotFound(f"content {digest}: not found")
    return note


def _info(context: Context, note: Note) -> messages.Info:
    return messages.Info(
        digest=note.digest,
        size=context.content.size(note.digest),
        created_at=Timestamp.of(note.created_at),
        updated_at=Timestamp.of(note.updated_at),
        labels=note.labels,
    )


def _status(found: Status, ref: str) -> messages.Status:
    return messages.Status(
        started_at=Timestamp.of(found.started_at),
        updated_at=Timestamp.of(found.updated_at),
        ref=ref,
        offset=found.offset,
        total=found.total,
        expected=found.expected,
    )


def fields(info: messages.Info) -> filters.Fields:
    """What filters choose by."""

    def field(path: tuple[str, ...]) -> str | None:
        if path == ("digest",):
            return info.digest
        if path == ("size",):
            return str(info.size)
        return filters.in_map(path[1:], info.labels) if path[0] == "labels" else None

    return field


def _ref_field(ref: str) -> filters.Fields:
    return lambda path: ref if path == ("ref",) else None
