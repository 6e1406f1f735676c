"""Diff: layers to files and back (containerd.services.diff.v1)."""

from __future__ import annotations

import os

from cloche.api.mounts import from_messages
from cloche.errors import InvalidArgument, NotFound
from cloche.image.differs import Walking
from cloche.spec import image as documents
from cloche.store import blob_labels
from cloche.wire.messages import diff as messages
from cloche.wire.messages.metadata_events import ContentCreate
from cloche.wire.messages.types import Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.api.call import Call
    from cloche.api.host import Host
    from cloche.engine.context import Context
    from cloche.image.differs import Differ

UNCOMPRESSED_LABEL = "containerd.io/uncompressed"


class Diff:
    """The service with one differ. differ: gives it when it is needed; None for our own, `walking`.

    sync: whether layers are on disk before clients are told, though they do not ask for it.
    """

    SERVICE = messages.DIFF

    def __init__(self, host: Host, differ: Callable[[], Differ] | None = None, *, sync: bool = False) -> None:
        self._host = host
        self._sync = sync
        self._differ = differ or (lambda: Walking(host.all().processors))

    async def apply(self, call: Call, request: messages.ApplyRequest) -> messages.ApplyResponse:
        """Extract a layer into a snapshot's mounts."""
        context = self._host.context(call)
        applied = await call.run(self._apply, context, request, pool="pulls")
        return messages.ApplyResponse(applied=applied)

    async def diff(self, call: Call, request: messages.DiffRequest) -> messages.DiffResponse:
        """Write what the right mounts have and the left ones have not as a layer."""
        context = self._host.context(call)
        made = await call.run(self._diff, context, call, request, pool="pulls")
        return messages.DiffResponse(diff=made)

    def _diff(self, context: Context, call: Call, request: messages.DiffRequest) -> Descriptor:
        left, right = from_messages(request.left), from_messages(request.right)
        ref = request.ref or f"diff {os.getpid()} {os.urandom(8).hex()}"
        with context.content.writer(f"{context.namespace}/{ref}") as ingest:
            if ingest.offset:
                ingest.restart()
            try:
                compared = self._differ().compare(left, right, request.media_type, ingest.write)
                size = ingest.offset
                digest = ingest.commit()
            except BaseException:
                ingest.abort()
                raise
        labels: dict[str, str | None] = dict(request.labels)
        if digest != compared.diff_id:
            labels[UNCOMPRESSED_LABEL] = compared.diff_id
        with context.metadata.write() as tx:
            blob_labels.update(tx, context.namespace, digest, labels)
            self._host.lease(tx, call, "content", digest)
        self._host.publish(context.namespace, "/content/create", ContentCreate(digest=digest, size=size))
        annotations = {UNCOMPRESSED_LABEL: compared.diff_id} if digest != compared.diff_id else {}
        return Descriptor(media_type=compared.media_type, digest=digest, size=size, annotations=annotations)

    def _apply(self, context: Context, request: messages.ApplyRequest) -> Descriptor:
        if request.diff is None:
            raise InvalidArgument("the request has no layer to apply")
        sent = request.diff
        with context.metadata.read() as tx:
            if blob_labels.note(tx, context.namespace, sent.digest) is None:
                raise NotFound(f"content {sent.digest}: not found")
        layer = documents.Descriptor(sent.media_type, sent.digest, sent.size, dict(sent.annotations))
        payloads = {key: value.encode() for key, value in request.payloads.items()}
        mounts, sync = from_messages(request.mounts), request.sync_fs or self._sync
        with open(context.content.open(sent.digest), "rb", buffering=0) as blob:
            result = self._differ().apply(layer, blob, mounts, payloads=payloads, sync=sync)
        return Descriptor(media_type=documents.OCI_LAYER, digest=result.diff_id, size=result.size)
