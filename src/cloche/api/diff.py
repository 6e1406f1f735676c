"""Diff: layers to files and back (containerd.services.diff.v1)."""

from __future__ import annotations

from cloche.api.mounts import from_messages
from cloche.errors import InvalidArgument, NotFound, Unimplemented
from cloche.image.apply import apply_to
from cloche.image.diff_blob import store_difference
from cloche.spec import image as documents
from cloche.store import blob_labels
from cloche.wire.messages import diff as messages
from cloche.wire.messages.metadata_events import ContentCreate
from cloche.wire.messages.types import Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.api.call import Call
    from cloche.api.host import Host
    from cloche.engine.context import Context

UNCOMPRESSED_LABEL = "containerd.io/uncompressed"


class Diff:
    """The service; containerd's own differ is called `walking`."""

    SERVICE = messages.DIFF

    def __init__(self, host: Host) -> None:
        self._host = host

    async def apply(self, call: Call, request: messages.ApplyRequest) -> messages.ApplyResponse:
        """Extract a layer into a snapshot's mounts."""
        context = self._host.context(call)
        applied = await call.run(_apply, context, request, pool="pulls")
        return messages.ApplyResponse(applied=applied)

    async def diff(self, call: Call, request: messages.DiffRequest) -> messages.DiffResponse:
        """Write what the right mounts have and the left ones have not as a layer."""
        context = self._host.context(call)
        made = await call.run(self._diff, context, call, request, pool="pulls")
        return messages.DiffResponse(diff=made)

    def _diff(self, context: Context, call: Call, request: messages.DiffRequest) -> Descriptor:
        made, diff_id = store_difference(
            from_messages(request.left),
            from_messages(request.right),
            content=context.content,
            media_type=request.media_type,
            ref=f"{context.namespace}/{request.ref}" if request.ref else "",
        )
        labels: dict[str, str | None] = dict(request.labels)
        if made.digest != diff_id:
            labels[UNCOMPRESSED_LABEL] = diff_id
        with context.metadata.write() as tx:
            blob_labels.update(tx, context.namespace, made.digest, labels)
            self._host.lease(tx, call, "content", made.digest)
        event = ContentCreate(digest=made.digest, size=made.size)
        self._host.publish(context.namespace, "/content/create", event)
        annotations = {UNCOMPRESSED_LABEL: diff_id} if made.digest != diff_id else {}
        return Descriptor(
            media_type=made.media_type, digest=made.digest, size=made.size, annotations=annotations
        )


def _apply(context: Context, request: messages.ApplyRequest) -> Descriptor:
    if request.diff is None:
        raise InvalidArgument("the request has no layer to apply")
    sent = request.diff
    try:
        context.processors.chain(sent.media_type)
    except InvalidArgument as error:
        raise Unimplemented(f"diff: {error}") from None
    with context.metadata.read() as tx:
        if blob_labels.note(tx, context.namespace, sent.digest) is None:
            raise NotFound(f"content {sent.digest}: not found")
    name = f"layer {sent.digest}"
    payloads = {key: value.encode() for key, value in request.payloads.items()}
    with (
        open(context.content.open(sent.digest), "rb", buffering=0) as blob,
        context.processors.opened(blob, sent.media_type, layer=name, payloads=payloads) as stream,
    ):
        result = apply_to(from_messages(request.mounts), stream, name=name, sync=request.sync_fs)
    return Descriptor(media_type=documents.OCI_LAYER, digest=result.diff_id, size=result.size)
