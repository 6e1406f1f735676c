"""Differs: layers to files, and files to layers."""

from __future__ import annotations

from cloche.errors import InvalidArgument, Unimplemented
from cloche.image.apply import apply_to
from cloche.image.diff_blob import written_difference
from cloche.spec import image as documents
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import BinaryIO, Protocol

    from cloche.image.processors import Processors
    from cloche.spec.image import Descriptor
    from cloche.spec.mount import Mount

    class Differ(Protocol):
        """What the diff service asks; an entry point of the group `cloche.differs` is one, or its class.

        Both methods run in threads, several at once. Raising Unimplemented leaves a request to the next
        differ; of other errors those of cloche.errors tell a client what to do. `capabilities` and
        `exports`, where it has them, are listed.
        """

        def apply(
            self,
            layer: Descriptor,
            blob: BinaryIO,
            mounts: Sequence[Mount],
            *,
            payloads: Mapping[str, bytes],
            sync: bool,
        ) -> Applied:
            """Make a layer's files where the mounts, which nobody has mounted, would show them.

            blob: its bytes, unbuffered. payloads: what the client sent for stream processors. sync: return
            when all is on disk.
            """

        def compare(
            self,
            lower: Sequence[Mount],
            upper: Sequence[Mount],
            media_type: str,
            write: Callable[[bytes], object],
        ) -> Compared:
            """Write what `upper` shows and `lower` does not as a layer of a type, "" for the differ's own."""


class Applied(Record):
    """The layer as it was applied: its uncompressed bytes, and their digest."""

    diff_id: str
    size: int


class Compared(Record):
    """The layer that was written: its type, and the digest of its uncompressed bytes."""

    media_type: str
    diff_id: str


class Walking:
    """Our own, under containerd's name. processors: for layers of other media types."""

    def __init__(self, processors: Processors) -> None:
        self._processors = processors

    def apply(
        self,
        layer: Descriptor,
        blob: BinaryIO,
        mounts: Sequence[Mount],
        *,
        payloads: Mapping[str, bytes],
        sync: bool,
    ) -> Applied:
        """See Differ."""
        name = f"layer {layer.digest}"
        try:
            self._processors.chain(layer.media_type)
        except InvalidArgument as error:
            raise Unimplemented(f"diff: {error}") from None
        with self._processors.opened(blob, layer.media_type, layer=name, payloads=payloads) as stream:
            result = apply_to(mounts, stream, name=name, sync=sync)
        return Applied(result.diff_id, result.size)

    def compare(
        self,
        lower: Sequence[Mount],
        upper: Sequence[Mount],
        media_type: str,
        write: Callable[[bytes], object],
    ) -> Compared:
        """See Differ."""
        media_type = media_type or documents.OCI_LAYER_GZIP
        return Compared(media_type, written_difference(lower, upper, media_type, write))
