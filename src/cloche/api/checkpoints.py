"""What CRIU writes of a task, as content: a tar of its files, and the container's configuration beside it."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile

from cloche.errors import NotFound
from cloche.spec.digest import of as digest_of
from cloche.store import blob_labels
from cloche.wire.messages.google import Any
from cloche.wire.messages.types import Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any as Anything

    from cloche.api.call import Call
    from cloche.api.host import Host
    from cloche.store.containers import Container

PROCESSES = "application/vnd.containerd.container.criu.checkpoint.criu.tar"
CONFIG = "application/vnd.containerd.container.checkpoint.config.v1+proto"
_SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec"


def directory(state: str) -> str:
    """A new directory for one checkpoint's files, below a daemon's state; the caller removes it."""
    os.makedirs(f"{state}/checkpoints", 0o700, exist_ok=True)
    return tempfile.mkdtemp(dir=f"{state}/checkpoints")


def store(host: Host, call: Call, row: Container, files: str) -> list[Descriptor]:
    """Put what is in a directory into the content store, and the container's configuration beside it."""
    content = host.context(call).content
    ref = f"checkpoint {row.id} {os.urandom(8).hex()}"
    with content.writer(ref) as writer:
        # Its files are written one after the other, and CRIU's are sparse: no compression.
        sink: Anything = _Sink(writer)  # tarfile's types ask for more than it does
        with tarfile.open(fileobj=sink, mode="w|") as archive:
            archive.add(files, arcname=".")
        size = writer.offset
        digest = writer.commit()
    found = [Descriptor(media_type=PROCESSES, digest=digest, size=size)]
    spec = Any(type_url=_SPEC_TYPE, value=row.spec).encode()
    content.put(spec)
    found.append(Descriptor(media_type=CONFIG, digest=digest_of(spec), size=len(spec)))
    context = host.context(call)
    with context.metadata.write() as tx:
        for each in found:
            blob_labels.update(tx, context.namespace, each.digest, {})
            host.lease(tx, call, "content", each.digest)
    return found


def extract(host: Host, call: Call, wanted: Descriptor, files: str) -> None:
    """Write a checkpoint's files out again. Raises NotFound where the namespace does not have it."""
    context = host.context(call)
    if not blob_labels.has(context.metadata.reader(), context.namespace, wanted.digest):
        raise NotFound(f"content {wanted.digest}: not found")
    with (
        os.fdopen(context.content.open(wanted.digest), "rb") as file,
        tarfile.open(fileobj=file, mode="r|") as archive,
    ):
        archive.extractall(files, filter="tar")


def discard(files: str) -> None:
    """Remove such a directory; nothing for an empty path."""
    if files:
        shutil.rmtree(files, ignore_errors=True)


class _Sink:
    """An ingest as a file that is written to."""

    def __init__(self, writer: Anything) -> None:
        self._writer = writer

    def write(self, data: bytes, /) -> int:
        """Take all of it."""
        self._writer.write(data)
        return len(data)
