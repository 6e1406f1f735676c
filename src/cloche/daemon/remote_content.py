"""Content that another daemon keeps for us: `[proxy_plugins.NAME]` with type "content" and an address.

It stands where the store of this root would be, and is spoken to as containerd's content service, in a
namespace of our own there, in which nobody else puts anything: so what lies in it and is not needed is ours
to remove, and each blob has the label that keeps it from that daemon's collector. Which daemon and which
namespace is written into the root (store.elsewhere), since an image whose blobs cannot be found is lost.

Blobs that are read as files come into nameless ones first, and their digests are looked at on the way.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from threading import Lock

from cloche.daemon.blocking_client import BlockingChannel
from cloche.daemon.remote_ingest import KeeperAway, RemoteWriter
from cloche.errors import (
    ClocheError,
    DataLoss,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from cloche.spec import digest as digests
from cloche.store import clock
from cloche.store.content import ContentStore, Info
from cloche.store.ingest import Status
from cloche.store.references import ROOT_LABEL
from cloche.wire.messages import content as messages
from cloche.wire.messages.content import CONTENT
from cloche.wire.messages.google import FieldMask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from cloche.store.elsewhere import Place
    from cloche.store.metadata import WriteTransaction
    from cloche.wire.protobuf import Message

_TIMEOUT_S = 30.0
_SLOWEST_BYTES = 1 << 20  # a second, over a socket of this machine
_CONNECTIONS_KEPT = 4


class RemoteContent(ContentStore):
    """The same interface as a store on disk. root: ours, for its lock. place: who keeps the blobs."""

    blocks = True

    def __init__(self, root: str, place: Place) -> None:
        super().__init__(root)
        self._place = place
        self.metadata = {"containerd-namespace": (place.namespace,)}
        self._idle: list[BlockingChannel] = []
        self._lock = Lock()
        self._layers: set[str] = set()

    @contextmanager
    def connection(self) -> Iterator[BlockingChannel]:
        """A connection that is nobody else's meanwhile. Raises KeeperAway, then and for what breaks it."""
        with self._lock:
            channel = self._idle.pop() if self._idle else None
        if channel is None or channel.connection.goodbye is not None:
            try:
                channel = BlockingChannel(self._place.address)
            except Unavailable as error:
                raise KeeperAway(f"the daemon that keeps our content is away: {error}") from None
        try:
            yield channel
        except ClocheError as error:
            if channel.connection.goodbye is not None:
                address = self._place.address
                raise KeeperAway(f"the daemon that keeps our content, {address}, is away: {error}") from None
            raise
        finally:
            with self._lock:
                kept = channel.connection.goodbye is None and len(self._idle) < _CONNECTIONS_KEPT
                if kept:
                    self._idle.append(channel)
            if not kept:
                channel.close()

    def ask(self, method: str, request: Message, *, again: bool = True) -> Any:
        """A call with one answer. again: repeat it where a connection that had rested is found closed."""
        try:
            with self.connection() as channel:
                return channel.unary(CONTENT, method, request, metadata=self.metadata, timeout_s=_TIMEOUT_S)
        except KeeperAway:
            if not again:
                raise
            self.close()
            return self.ask(method, request, again=False)

    def close(self) -> None:
        """Close the connections that rest."""
        with self._lock:
            # Emptied, not replaced: what namespaces see of this store has the same connections.
            idle = self._idle.copy()
            self._idle.clear()
        for channel in idle:
            channel.close()

    def path(self, digest: str) -> str:
        """There is none. Raises InvalidArgument for what is no digest."""
        digests.validate(digest)
        return f"{self.root}/none"

    def open(self, digest: str) -> int:
        """A descriptor of a nameless copy. Raises NotFound, DataLoss, KeeperAway."""
        hashing = digests.hasher(digests.parse(digest)[0])
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        size = self.size(digest)  # where a connection has gone it shows here, and is made again
        with tempfile.TemporaryFile(dir=self.root) as file:
            for data in self._pieces(digest, 0, size):
                hashing.update(data)
                file.write(data)
            if hashing.hexdigest() != digests.parse(digest)[1]:
                raise DataLoss(f"content {digest}: {self._place.address} sent something else")
            file.flush()
            copy = os.dup(file.fileno())
        os.lseek(copy, 0, os.SEEK_SET)
        return copy

    def _pieces(self, digest: str, offset: int, size: int) -> Iterator[bytes]:
        timeout_s = _TIMEOUT_S + size / _SLOWEST_BYTES
        with (
            self.connection() as channel,
            channel.call(CONTENT, "Read", metadata=self.metadata, timeout_s=timeout_s) as call,
        ):
            call.send(messages.ReadContentRequest(digest=digest, offset=offset, size=size), end=True)
            for answer in call:
                yield answer.data

    def read(self, digest: str, *, limit_bytes: int = 4 << 20) -> bytes:
        """The whole blob, verified. Raises NotFound, ResourceExhausted, DataLoss, KeeperAway."""
        size = self.size(digest)
        if size > limit_bytes:
            raise ResourceExhausted(f"content {digest}: has {size} bytes; at most {limit_bytes} are read")
        data = b"".join(self._pieces(digest, 0, size))
        if digests.of(data, digests.parse(digest)[0]) != digest:
            raise DataLoss(f"content {digest}: {self._place.address} sent something else")
        return data

    def part(self, digest: str, offset: int, size: int) -> bytes:
        """Some bytes of a blob, as far as it has them. Raises NotFound, KeeperAway."""
        if offset >= self.size(digest) or size <= 0:
            return b""
        return b"".join(self._pieces(digest, offset, size))[:size]

    def document(self, digest: str, limit_bytes: int) -> bytes | None:
        """See ContentStore. What is no document is asked for once."""
        if digest in self._layers:
            return None
        found = super().document(digest, limit_bytes)
        if found is None:
            self._layers.add(digest)
        return found

    def exists(self, digest: str) -> bool:
        """Whether the blob is there; if so it stays for another day, whatever refers to it."""
        if self.hides(digest):
            return False
        try:
            with self.locked():
                self._renew(digest)
        except NotFound:
            return False
        return True

    def _renew(self, digest: str) -> None:
        info = messages.Info(digest=digest, labels=self.labels())
        mask = FieldMask(paths=[f"labels.{ROOT_LABEL}"])
        self.ask("Update", messages.UpdateRequest(info=info, update_mask=mask))

    def labels(self) -> dict[str, str]:
        """What keeps a blob there. The value changes, and with it the time that the blob was last wanted."""
        return {ROOT_LABEL: f"cloche {clock.now()}"}

    def info(self, digest: str) -> Info:
        """What is known of a blob. Raises NotFound, KeeperAway."""
        digests.validate(digest)
        if self.hides(digest):
            raise NotFound(f"content {digest}: not here")
        answer: messages.InfoResponse = self.ask("Info", messages.InfoRequest(digest=digest))
        if answer.info is None:
            raise NotFound(f"content {digest}: not here")
        return _info(answer.info)

    def walk(self) -> Iterator[Info]:
        """Every blob. Raises KeeperAway."""
        self.ask("ListStatuses", messages.ListStatusesRequest())  # as in `open`
        with (
            self.connection() as channel,
            channel.call(CONTENT, "List", metadata=self.metadata, timeout_s=_TIMEOUT_S) as call,
        ):
            call.send(messages.ListContentRequest(), end=True)
            for answer in call:
                yield from map(_info, answer.info)

    def delete(self, digest: str) -> None:
        """Remove a blob whoever refers to it. Raises NotFound, KeeperAway."""
        digests.validate(digest)
        self.ask("Delete", messages.DeleteContentRequest(digest=digest))

    def take_away(self, tx: WriteTransaction, digest: str, may_go: Callable[[Info], bool]) -> bool:
        """Remove a blob within a transaction, if it still may go; whether it was so.

        Not after it: whoever needs the blob again notes that first, in a transaction of its own, and must
        then not find it on its way out.
        """
        try:
            if not may_go(self.info(digest)):
                return False
            self.delete(digest)
        except NotFound:
            return False
        return True

    def writer(self, ref: str, *, digest: str | None = None, size: int | None = None) -> RemoteWriter:  # type: ignore[override]  # the same to whoever writes
        """See ContentStore."""
        return RemoteWriter(self, ref, digest=digest, size=size)

    def ingests(self) -> Iterator[Status]:
        """What is arriving, or was interrupted."""
        answer: messages.ListStatusesResponse = self.ask("ListStatuses", messages.ListStatusesRequest())
        return map(_status, answer.statuses)

    def status(self, ref: str) -> Status:
        """One ingest. Raises NotFound."""
        answer: messages.StatusResponse = self.ask("Status", messages.StatusRequest(ref=ref))
        if answer.status is None:
            raise NotFound(f"ingest {ref!r}: there is none")
        return _status(answer.status)

    def abort(self, ref: str) -> None:
        """Forget an interrupted ingest. Raises NotFound, Unavailable while it has a writer."""
        self.ask("Abort", messages.AbortRequest(ref=ref), again=False)

    def forget_ingests(self, before: int, keep: frozenset[str]) -> list[str]:
        """See ContentStore."""
        gone = []
        for each in self.ingests():
            if each.updated_at < before and each.ref not in keep:
                try:
                    self.abort(each.ref)
                except (NotFound, Unavailable):
                    continue
                gone.append(each.ref)
        return gone

    def purge(self) -> None:
        """Nothing is in between here."""


def _info(info: messages.Info) -> Info:
    return Info(info.digest, info.size, info.updated_at.ns() if info.updated_at else 0)


def _status(status: messages.Status) -> Status:
    return Status(
        ref=status.ref,
        offset=status.offset,
        total=status.total,
        expected=status.expected,
        started_at=status.started_at.ns() if status.started_at else 0,
        updated_at=status.updated_at.ns() if status.updated_at else 0,
        active=False,
    )
