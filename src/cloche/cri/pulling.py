"""Pulls: one for an image at a time, given up when nothing comes any more.

Who asks for what is under way already joins it; it goes on when they leave, for the next attempt.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import threading
import time

from cloche.cri import images
from cloche.engine.images import Images as Engine
from cloche.errors import DeadlineExceeded, InvalidArgument
from cloche.image import progress as news
from cloche.image.credentials import Credentials
from cloche.image.hosts import authority
from cloche.image.progress import Recorder
from cloche.spec import reference as references
from cloche.store import images as store
from cloche.wire.messages.metadata_events import ImageCreate, ImageUpdate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cri.host import Host
    from cloche.wire.messages.cri.images import AuthConfig

_LOOK_S = 0.5


class Pull:
    """One pull under way. recorder: how far it is."""

    def __init__(self, reference: str, credentials: Credentials) -> None:
        self.reference = reference
        self.credentials = credentials
        self.recorder = Recorder()
        self.cancelled = threading.Event()

    def progress(self) -> dict[str, int]:
        """Bytes that are here, and bytes of all that is known of."""
        blobs = self.recorder.blobs()
        return {"bytes": sum(blob.offset for blob in blobs), "of": sum(blob.size for blob in blobs)}

    def state(self) -> tuple[object, ...]:
        """What changes as long as it gets on; extracting is our own work, and not waited for."""
        blobs = self.recorder.blobs()
        if any(blob.status == news.EXTRACTING for blob in blobs):
            return (time.monotonic(),)
        return tuple((blob.status, blob.offset) for blob in blobs)


class Puller:
    """Fetches images."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._running: dict[tuple[str, Credentials], tuple[Pull, asyncio.Task[str]]] = {}

    def under_way(self) -> dict[str, dict[str, int]]:
        """How far each pull is, by the image's name."""
        return {pull.reference: pull.progress() for pull, _ in self._running.values()}

    async def pull(self, reference: str, auth: AuthConfig | None) -> str:
        """Fetch and unpack; returns the image's id.

        Raises InvalidArgument for what is no name, DeadlineExceeded when nothing came for too long, and
        what the registry gives cause for.
        """
        name = images.full_name(reference)
        key = (name, credentials(auth) if auth is not None else self._configured(name))
        if key not in self._running:
            pull = Pull(*key)
            task = asyncio.ensure_future(self._watched(pull))
            self._running[key] = (pull, task)
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(self._running[key][1])

    def _configured(self, name: str) -> Credentials:
        domain, logins = references.parse(name).domain, self._host.settings.logins
        return logins.get(domain) or logins.get(authority(domain)) or Credentials()

    def _ended(self, key: tuple[str, Credentials], task: asyncio.Task[str]) -> None:
        del self._running[key]
        _seen(task)

    async def _watched(self, pull: Pull) -> str:
        """Whichever comes first: the image, or the end of our patience with what stands still.

        A thread that waits for an answer that never comes ends by itself, some time later.
        """
        working = asyncio.ensure_future(self._host.run(self._pull, pull, pool="pulls"))
        watching = asyncio.ensure_future(self._stands_still(pull))
        try:
            done, _ = await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
        if working in done:
            image_id: str = working.result()
            return image_id
        working.add_done_callback(_seen)
        raise DeadlineExceeded(
            f"pulling {pull.reference}: nothing came for {self._host.settings.pull_timeout_s:g} s: "
            "is its registry there?"
        )

    async def _stands_still(self, pull: Pull) -> None:
        """Returns when nothing has changed for too long, and the pull is told to end."""
        timeout_s = self._host.settings.pull_timeout_s
        last, since = pull.state(), time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_S)
            now = pull.state()
            if now != last or timeout_s <= 0:
                last, since = now, time.monotonic()
            elif time.monotonic() - since > timeout_s:
                pull.cancelled.set()
                return

    def _pull(self, pull: Pull) -> str:
        context, settings = self._host.context, self._host.settings
        image = Engine(context).pull(
            pull.reference,
            auth=pull.credentials,
            hosts_dir=settings.hosts_dir,
            progress=pull.recorder,
            cancelled=pull.cancelled,
            workers=settings.downloads,
        )
        labels = {images.MANAGED: "managed"}
        names = images.names(pull.reference, image.digest, image.id)
        if set(settings.pinned) & set(names):
            labels[images.PINNED] = "pinned"
        made: list[str] = []
        with context.metadata.write() as tx:
            for name in names:
                old = store.get(tx, context.namespace, name)
                if old is None or name == pull.reference:
                    made.append(name)
                elif old.target == image.row.target and labels.items() <= old.labels.items():
                    continue
                kept = {**(old.labels if old else {}), **labels}
                store.put(tx, context.namespace, store.Image(name, image.row.target, kept))
        for name in names:
            kind = ImageCreate if name in made else ImageUpdate
            topic = "/images/create" if name in made else "/images/update"
            self._host.publish(topic, kind(name=name, labels=labels))
        return image.id


def _seen(work: asyncio.Future[str]) -> None:
    """Whoever waited for it was told; there may be nobody."""
    if not work.cancelled():
        work.exception()


def credentials(auth: AuthConfig | None) -> Credentials:
    """What to show the registry; without any the pull stays anonymous, whatever root has logged in to.

    Raises InvalidArgument for what cannot be read.
    """
    if auth is None:
        return Credentials()
    username, password = auth.username, auth.password
    if auth.auth and not username:
        try:
            text = base64.b64decode(auth.auth, validate=True).decode()
        except (binascii.Error, ValueError):
            raise InvalidArgument("auth.auth: must be base64 of user:password") from None
        username, colon, password = text.partition(":")
        if not colon:
            raise InvalidArgument("auth.auth: must be base64 of user:password")
        password = password.strip("\0")
    return Credentials(username, password, auth.identity_token, auth.registry_token)
