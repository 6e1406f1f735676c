"""One blob on its way in over the API: the content service's Write."""

from __future__ import annotations

from contextlib import suppress

from cloche.api.borrowed import Borrowed, borrowed
from cloche.errors import AlreadyExists, DataLoss, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from cloche.spec import digest as digests
from cloche.store import blob_labels
from cloche.wire.messages import content as messages
from cloche.wire.messages.google import Timestamp
from cloche.wire.messages.metadata_events import ContentCreate
from cloche.wire.status import OUT_OF_RANGE, StatusError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from cloche.api.call import Call
    from cloche.api.host import Host
    from cloche.engine.context import Context
    from cloche.store.ingest import Status, Writer

    _R = TypeVar("_R")

# What arrives in smaller pieces is written on the event loop: handing it to a thread takes longer.
_SMALL_BYTES = 1 << 17


def ref_in(namespace: str, ref: str) -> str:
    """An ingest's name in the store, which all namespaces share."""
    return f"{namespace}/{ref}"


class Ingest:
    """The writer behind one stream of WriteContentRequest; close() keeps the bytes for a resume.

    first: the request that opens it: its ref names the ingest.
    """

    def __init__(self, host: Host, call: Call, context: Context, first: messages.WriteContentRequest) -> None:
        if not first.ref:
            raise InvalidArgument("first message must have a reference")
        self._host = host
        self._call = call
        self._context = context
        self._ref = first.ref
        self._expected = first.expected
        self._total = first.total
        self._writer: Writer | Borrowed | None = None

    async def open(self) -> None:
        """Take the ref. Raises Unavailable while another has it, AlreadyExists for what is here."""
        await self._refuse_known()
        self._writer = await self._call.run(self._open)

    async def _quickly(self, function: Callable[..., _R], *arguments: Any) -> _R:
        """Call what takes microseconds, unless the content is kept by another daemon."""
        if self._context.content.blocks:
            return await self._call.run(function, *arguments)
        return function(*arguments)

    def _open(self) -> Writer | Borrowed:
        content, expected = self._context.content, self._expected
        found = borrowed(content, self._ref, expected, self._total) if expected else None
        return found or self._open_empty()

    def _open_empty(self) -> Writer:
        ref = ref_in(self._context.namespace, self._ref)
        return self._context.content.writer(ref, digest=self._expected or None, size=self._total or None)

    async def _refuse_known(self) -> None:
        """Raises AlreadyExists where the namespace has the blob; the caller's lease keeps it then too."""
        if not self._expected:
            return
        digests.validate(self._expected)
        context = self._context
        if not blob_labels.has(context.metadata.reader(), context.namespace, self._expected):
            return
        if self._call.header("containerd-lease") and not await self._call.run(self._lease, self._expected):
            return
        raise AlreadyExists(f"blob with expected digest {self._expected} exists")

    def _lease(self, digest: str) -> bool:
        """Whether the namespace still has the blob; if so the caller's lease keeps it from now on."""
        with self._context.metadata.write() as tx:
            self._host.lease(tx, self._call, "content", digest)
            return blob_labels.has(tx, self._context.namespace, digest)

    async def take(self, request: messages.WriteContentRequest) -> messages.WriteContentResponse:
        """Do what one request says; the answer to it."""
        if request.expected and request.expected != self._expected:
            self._expected = request.expected
            try:
                await self._refuse_known()
            except AlreadyExists:
                await self._quickly(self._abort)
                raise
        self._total = request.total or self._total
        if request.action == messages.STAT:
            return await self._quickly(self._described, request.action)
        await self._go_to(request.offset)
        if request.data:
            await self._write(request.data)
        if request.action == messages.COMMIT:
            return await self._call.run(self._commit, dict(request.labels))
        return await self._quickly(self._answer, request.action)

    @property
    def _open_writer(self) -> Writer | Borrowed:
        if self._writer is None:
            raise InvalidArgument(f"ingest {self._ref!r}: is closed")
        return self._writer

    async def _go_to(self, offset: int) -> None:
        writer = self._open_writer
        if offset and offset != writer.offset:
            raise StatusError(
                OUT_OF_RANGE,
                f"ingest {self._ref!r}: write @{offset} must occur at current offset {writer.offset}",
            )
        if not offset and writer.offset:
            if isinstance(writer, Borrowed):
                # The client sends it all the same.
                self._writer = writer = await self._call.run(self._open_empty)
            writer.restart()

    async def _write(self, data: bytes) -> None:
        write = self._open_writer.write
        if len(data) <= _SMALL_BYTES:
            await self._quickly(write, data)
        else:
            await self._call.run(write, data)

    def _commit(self, labels: dict[str, str | None]) -> messages.WriteContentResponse:
        writer = self._open_writer
        size, started = writer.offset, self._status()
        try:
            digest = writer.commit(digest=self._expected or None, size=self._total or None)
        except DataLoss as error:
            # containerd's code for it, which clients look at.
            raise FailedPrecondition(str(error)) from None
        self._writer = None
        self._note(digest, labels)
        if isinstance(writer, Borrowed):
            with suppress(NotFound, Unavailable):
                self._context.content.abort(ref_in(self._context.namespace, self._ref))
        event = ContentCreate(digest=digest, size=size)
        self._host.publish(self._context.namespace, "/content/create", event)
        return messages.WriteContentResponse(
            action=messages.COMMIT,
            started_at=Timestamp.of(started.started_at),
            updated_at=Timestamp.of(started.updated_at),
            offset=size,
            total=self._total or size,
            digest=digest,
        )

    def _note(self, digest: str, labels: dict[str, str | None]) -> None:
        """The blob is the namespace's now, and its caller's lease keeps it.

        Whoever removes a blob does so within a transaction, as this is one, and looks who has it.
        """
        with self._context.metadata.write() as tx:
            blob_labels.update(tx, self._context.namespace, digest, labels)
            self._host.lease(tx, self._call, "content", digest)
            if not self._context.content.exists(digest):
                raise Unavailable(f"content {digest}: was removed meanwhile: send it again")

    def _status(self) -> Status:
        if isinstance(self._writer, Borrowed):
            return self._writer.status()
        return self._context.content.status(ref_in(self._context.namespace, self._ref))

    def _answer(self, action: int) -> messages.WriteContentResponse:
        writer = self._open_writer
        return messages.WriteContentResponse(action=action, offset=writer.offset, digest=writer.digest)

    def _described(self, action: int) -> messages.WriteContentResponse:
        answer, found = self._answer(action), self._status()
        answer.started_at = Timestamp.of(found.started_at)
        answer.updated_at = Timestamp.of(found.updated_at)
        answer.total = self._total
        return answer

    def _abort(self) -> None:
        self._open_writer.abort()
        self._writer = None

    def close(self) -> None:
        """Free the ref; what came so far stays for a resume."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
