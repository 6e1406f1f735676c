"""One blob on its way into content that another daemon keeps: store.ingest.Writer over a stream."""

from __future__ import annotations

import time

from cloche.errors import AlreadyExists, DataLoss, FailedPrecondition, NotFound, Unavailable
from cloche.spec import digest as digests
from cloche.store.identifiers import validate_name
from cloche.wire.messages import content as messages
from cloche.wire.messages.content import CONTENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Self

    from cloche.daemon.blocking_client import BlockingCall, BlockingChannel
    from cloche.daemon.remote_content import RemoteContent
    from cloche.spec.digest import Hasher

_PIECE_BYTES = 1 << 20
_LOOKS, _PAUSE_S = 50, 0.02


class KeeperAway(FailedPrecondition):
    """The other daemon cannot be asked. Not Unavailable: a ref that is taken is, and that passes."""


class RemoteWriter:
    """The one writer of a ref there: write, then commit or abort; see store.ingest.Writer.

    Each piece is answered before the next one is sent, so that `offset` is what that daemon has.
    """

    def __init__(self, store: RemoteContent, ref: str, *, digest: str | None, size: int | None) -> None:
        validate_name(ref, "ingest ref")
        self.ref = ref
        self.offset = 0
        self._store = store
        self._digest = digest
        self._algorithm = digests.parse(digest)[0] if digest else "sha256"
        self._size = size
        self._hash: Hasher | None = None
        self._connection: AbstractContextManager[BlockingChannel] | None = store.connection()
        try:
            self._channel = self._connection.__enter__()
            self._call: BlockingCall = self._channel.call(CONTENT, "Write", metadata=store.metadata)
            found = self._exchange(messages.STAT)
        except BaseException:
            self.close()
            raise
        self.offset = found.offset
        if not self.offset or (size is not None and self.offset > size):
            self.restart()

    def _exchange(self, action: int, data: bytes = b"", **more: object) -> messages.WriteContentResponse:
        request = messages.WriteContentRequest(
            action=action, ref=self.ref, total=self._size or 0, offset=self.offset, data=data, **more
        )
        try:
            self._call.send(request)
            answer: messages.WriteContentResponse | None = self._call.receive()
        except Unavailable as error:
            if self._channel.connection.goodbye is None:
                raise
            raise KeeperAway(f"{self._what()}: the daemon that keeps our content is away: {error}") from None
        if answer is None:
            raise KeeperAway(f"{self._what()}: the daemon that keeps our content ended the stream")
        return answer

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes. Raises DataLoss as soon as there are more than expected, KeeperAway."""
        view = memoryview(data).cast("B")
        if self._size is not None and self.offset + len(view) > self._size:
            raise DataLoss(f"{self._what()}: more than the expected {self._size} bytes arrived")
        for start in range(0, len(view), _PIECE_BYTES):
            piece = bytes(view[start : start + _PIECE_BYTES])
            self._exchange(messages.WRITE, piece)
            self.offset += len(piece)
            if self._hash is not None:
                self._hash.update(piece)

    def restart(self) -> None:
        """Begin again: what is sent at offset 0 takes the place of all that is there."""
        self.offset = 0
        self._hash = digests.hasher(self._algorithm)

    def commit(self, *, digest: str | None = None, size: int | None = None) -> str:
        """Make the blob appear; returns its digest. Raises as store.ingest.Writer.commit."""
        for expected_size in (self._size, size):
            if expected_size is not None and expected_size != self.offset:
                raise DataLoss(f"{self._what()}: {self.offset} bytes arrived, {expected_size} expected")
        wanted = digest or self._digest
        if self._hash is not None:
            for expected in (self._digest, digest):
                if expected is not None and expected != self.digest:
                    found = self.digest
                    self.abort()
                    raise DataLoss(f"{self._what()}: its digest is {found}, not the expected {expected}")
            wanted = self.digest
        with self._store.locked():
            committed = self._commit(wanted)
        self.close()
        self._store.arrived(committed)
        return committed

    def _commit(self, wanted: str | None) -> str:
        self._size = self.offset
        try:
            answer = self._exchange(messages.COMMIT, expected=wanted or "", labels=self._store.labels())
        except AlreadyExists:
            self.abort()
            return wanted or ""
        except KeeperAway:
            raise
        except FailedPrecondition as error:
            # As containerd calls bytes that are not those of the digest.
            self.abort()
            raise DataLoss(f"{self._what()}: {error}") from None
        return answer.digest

    @property
    def digest(self) -> str:
        """The digest of the bytes so far."""
        if self._hash is not None:
            return f"{self._algorithm}:{self._hash.hexdigest()}"
        return self._exchange(messages.STAT).digest

    def abort(self) -> None:
        """Forget the ingest and its bytes, and close."""
        if self._connection is None:
            return
        self.close()
        # The daemon learns of the stream's end a moment after we have ended it.
        for _ in range(_LOOKS):
            try:
                self._store.abort(self.ref)
            except NotFound:
                return
            except Unavailable:
                time.sleep(_PAUSE_S)
            else:
                return

    def close(self) -> None:
        """Free the ref; bytes that were not committed stay for a resume."""
        connection, self._connection = self._connection, None
        if connection is not None:
            if hasattr(self, "_call"):
                self._call.cancel()
            connection.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _what(self) -> str:
        return f"content {self._digest or self.ref}"
