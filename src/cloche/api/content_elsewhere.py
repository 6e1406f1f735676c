"""The content service where another daemon keeps the blobs: what is quick on a disk waits in threads here."""

from __future__ import annotations

from cloche.api import content
from cloche.spec import filters
from cloche.store import blob_labels
from cloche.wire.messages import content as messages
from cloche.wire.messages.google import Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cloche.api.call import Call
    from cloche.engine.context import Context

_CHUNK_BYTES = 1 << 20


class ContentElsewhere(content.Content):
    """The service."""

    async def info(self, call: Call, request: messages.InfoRequest) -> messages.InfoResponse:  # type: ignore[override]  # a handler is either
        """One blob."""
        return await call.run(super().info, call, request)

    async def list(
        self, call: Call, request: messages.ListContentRequest
    ) -> AsyncIterator[messages.ListContentResponse]:
        """The namespace's blobs, a hundred a message."""
        found = await call.run(_infos, self._host.context(call), tuple(request.filters))
        for start in range(0, len(found), content.BLOCK_ENTRIES):
            yield messages.ListContentResponse(info=found[start : start + content.BLOCK_ENTRIES])

    async def read(
        self, call: Call, request: messages.ReadContentRequest
    ) -> AsyncIterator[messages.ReadContentResponse]:
        """A blob's bytes, piece by piece."""
        context = self._host.context(call)
        note = content.need(context, request.digest)
        position, end = content.part(request, await call.run(context.content.size, note.digest))
        sent = 0
        while position + sent < end:
            size = min(_CHUNK_BYTES, end - position - sent)
            data = await call.run(context.content.part, note.digest, position + sent, size)
            if not data:
                break
            yield messages.ReadContentResponse(offset=sent, data=data)
            sent += len(data)

    async def status(self, call: Call, request: messages.StatusRequest) -> messages.StatusResponse:  # type: ignore[override]  # a handler is either
        """One ingest."""
        return await call.run(super().status, call, request)

    async def list_statuses(  # type: ignore[override]  # a handler is either
        self, call: Call, request: messages.ListStatusesRequest
    ) -> messages.ListStatusesResponse:
        """The namespace's ingests."""
        return await call.run(super().list_statuses, call, request)


def _infos(context: Context, patterns: tuple[str, ...]) -> list[messages.Info]:
    """What the namespace knows, with the sizes that one walk tells."""
    chosen = filters.parse(patterns)
    sizes = {blob.digest: blob.size for blob in context.content.walk()}
    with context.metadata.read() as tx:
        notes = blob_labels.notes(tx, context.namespace)
    found = []
    for note in notes:
        if note.digest in sizes:
            info = messages.Info(
                digest=note.digest,
                size=sizes[note.digest],
                created_at=Timestamp.of(note.created_at),
                updated_at=Timestamp.of(note.updated_at),
                labels=note.labels,
            )
            if chosen.matches(content.fields(info)):
                found.append(info)
    return found
