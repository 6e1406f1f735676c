"""Content of a daemon: blobs read and written over its content service."""

from __future__ import annotations

from cloche.errors import AlreadyExists, DataLoss, ResourceExhausted
from cloche.spec import digest as digests
from cloche.wire.messages import content as messages
from cloche.wire.messages.content import COMMIT, CONTENT, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cloche.cli.ctr.daemon import Daemon

_DOCUMENT_BYTES = 8 << 20
_CHUNK_BYTES = 1 << 20


def pieces(daemon: Daemon, digest: str) -> Iterator[bytes]:
    """A blob, piece by piece, as the daemon sends it. Raises NotFound."""
    for answer in daemon.stream(CONTENT, "Read", messages.ReadContentRequest(digest=digest)):
        yield answer.data


def document(daemon: Daemon, digest: str) -> bytes:
    """A small blob as a whole, verified. Raises NotFound, ResourceExhausted, DataLoss."""
    parts, size = [], 0
    for data in pieces(daemon, digest):
        parts.append(data)
        size += len(data)
        if size > _DOCUMENT_BYTES:
            raise ResourceExhausted(f"content {digest}: has more than {_DOCUMENT_BYTES} bytes")
    whole = b"".join(parts)
    if digests.of(whole, digests.parse(digest)[0]) != digest:
        raise DataLoss(f"content {digest}: the daemon sends something else")
    return whole


def info(daemon: Daemon, digest: str) -> messages.Info | None:
    """What the daemon knows of a blob; None where it is not there."""
    found = daemon.find(CONTENT, "Info", messages.InfoRequest(digest=digest))
    return None if found is None else found.info


def store(
    daemon: Daemon,
    ref: str,
    read: Callable[[int], bytes],
    *,
    digest: str = "",
    size: int = 0,
    labels: Mapping[str, str] | None = None,
) -> str:
    """Send a blob, in one ingest called `ref`; its digest.

    read: gives up to so many bytes, none at the end. digest, size: what is expected, empty and 0 for
    unknown. Where the daemon has it already nothing happens.
    """
    hashing = digests.hasher()
    offset = 0
    try:
        with daemon.open(CONTENT, "Write") as call:
            while data := read(_CHUNK_BYTES):
                hashing.update(data)
                request = messages.WriteContentRequest(
                    action=WRITE, ref=ref, total=size, expected=digest, offset=offset, data=data
                )
                call.send(request)
                call.receive()
                offset += len(data)
            digest = digest or f"sha256:{hashing.hexdigest()}"
            last = messages.WriteContentRequest(
                action=COMMIT,
                ref=ref,
                total=size or offset,
                expected=digest,
                offset=offset,
                labels=labels or {},
            )
            call.send(last, end=True)
            answer = call.receive()
    except AlreadyExists:
        return digest
    except BaseException:
        daemon.find(CONTENT, "Abort", messages.AbortRequest(ref=ref))
        raise
    return answer.digest or digest


def store_bytes(daemon: Daemon, data: bytes, *, labels: Mapping[str, str] | None = None) -> str:
    """Send a blob that is in memory; its digest."""
    digest = digests.of(data)
    rest = [data]
    store(
        daemon,
        f"put-{digest}",
        lambda _: rest.pop() if rest else b"",
        digest=digest,
        size=len(data),
        labels=labels,
    )
    return digest
