"""What a transfer tells its client while it works."""

from __future__ import annotations

import asyncio

from cloche.errors import ClocheError
from cloche.image import progress as news
from cloche.image.progress import BlobStatus, Progress
from cloche.wire.messages.transfer import Progress as Message
from cloche.wire.messages.types import Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.api.streaming import Stream
    from cloche.store.images import Target

_WORDS = {
    news.WAITING: "waiting",
    news.DOWNLOADING: "downloading",
    news.UPLOADING: "uploading",
    news.EXTRACTING: "extracting",
    news.DONE: "complete",
    news.EXISTS: "already exists",
}
_INTERVAL_S = 0.1


class Told(Progress):
    """Sends news over a stream; of a blob that moves, no more than ten times a second.

    stream: None tells nobody. parent: the name that blobs are listed below.
    """

    def __init__(self, stream: Stream | None) -> None:
        self.parent = ""
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Message | None] = asyncio.Queue()
        self._last: dict[str, tuple[str, float]] = {}
        self._sending = asyncio.ensure_future(self._send_all())

    def say(self, event: str, *, name: str = "", target: Target | None = None) -> None:
        """Something happened to the transfer as a whole."""
        described = None
        if target is not None:
            described = Descriptor(media_type=target.media_type, digest=target.digest, size=target.size)
        self._queue.put_nowait(Message(event=event, name=name, desc=described))

    def update(self, blob: BlobStatus) -> None:
        """Something happened to a blob; from any thread."""
        self._loop.call_soon_threadsafe(self._update, blob)

    def _update(self, blob: BlobStatus) -> None:
        word, now = _WORDS.get(blob.status, blob.status), self._loop.time()
        before, at = self._last.get(blob.digest, ("", 0.0))
        if before == word and now - at < _INTERVAL_S:
            return
        self._last[blob.digest] = (word, now)
        self._queue.put_nowait(
            Message(
                event=word,
                name=f"{blob.kind}-{blob.digest}",
                parents=[self.parent] if self.parent else [],
                progress=blob.offset,
                total=blob.size,
                desc=Descriptor(digest=blob.digest, size=blob.size),
            )
        )

    async def _send_all(self) -> None:
        while (message := await self._queue.get()) is not None:
            if self._stream is not None:
                await self._stream.send(message)

    async def finish(self) -> None:
        """Send what is left, and close the stream."""
        self._queue.put_nowait(None)
        try:
            await self._sending
        except ClocheError:
            pass  # the client did not wait for the last of it
        if self._stream is not None:
            self._stream.close()
