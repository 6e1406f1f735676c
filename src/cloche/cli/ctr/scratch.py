"""A store for the length of one command: what a client does itself with images, it does in there.

A daemon without transfers (containerd before 1.7), and `--local`, leave pulling, pushing and archives to
the client. The library does these on its own stores, so they are done on one in a temporary directory,
and blobs go from there to the daemon or come from it.
"""

from __future__ import annotations

import os
import shutil
import tempfile

from cloche.cli.ctr import blobs
from cloche.cli.ctr.image_content import Documents, target_of
from cloche.errors import AlreadyExists, NotFound
from cloche.spec import image as documents
from cloche.spec.image import Descriptor, Index
from cloche.store import images as rows
from cloche.store.content import ContentStore
from cloche.store.metadata import Metadata
from cloche.wire.messages import images as messages
from cloche.wire.messages import types
from cloche.wire.messages.images import IMAGES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.cli.ctr.daemon import Daemon
    from cloche.store.images import Image

NAMESPACE = "default"
_REFERS_TO = "containerd.io/gc.ref.content"


class Scratch:
    """content and metadata: the store, removed at the end of the `with` block."""

    def __init__(self) -> None:
        self._directory = tempfile.mkdtemp(prefix="ctr-")
        self.content = ContentStore(f"{self._directory}/content")
        self.metadata = Metadata(f"{self._directory}/meta.db")

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        self.metadata.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def upload(self, daemon: Daemon, target: Descriptor) -> None:
        """Send what a descriptor stands for, as far as it is here, what is referred to first."""
        if not self.content.exists(target.digest):
            return
        labels = {}
        if target.media_type in (*documents.INDEX_TYPES, *documents.MANIFEST_TYPES):
            for key, each in self._below(target):
                self.upload(daemon, each)
                labels[f"{_REFERS_TO}.{key}"] = each.digest
        if blobs.info(daemon, target.digest) is None:
            self._send(daemon, target, labels)

    def _below(self, target: Descriptor) -> list[tuple[str, Descriptor]]:
        document = documents.parse(self.content.read(target.digest), target.media_type)
        if isinstance(document, Index):
            return [(f"m.{number}", each) for number, each in enumerate(document.manifests)]
        layers = [(f"l.{number}", each) for number, each in enumerate(document.layers)]
        return [("config", document.config), *layers]

    def _send(self, daemon: Daemon, target: Descriptor, labels: Mapping[str, str]) -> None:
        descriptor = self.content.open(target.digest)
        try:
            blobs.store(
                daemon,
                f"upload-{target.digest}",
                lambda count: os.read(descriptor, count),
                digest=target.digest,
                size=target.size,
                labels=labels,
            )
        finally:
            os.close(descriptor)

    def download(self, daemon: Daemon, image: messages.Image) -> Image:
        """Fetch an image from the daemon, as far as it is there; its row here."""
        target = target_of(image)
        self._fetch(daemon, Documents(daemon), target)
        row = rows.Image(image.name, rows.Target(target.media_type, target.digest, target.size), {})
        with self.metadata.write() as tx:
            return rows.put(tx, NAMESPACE, row)

    def _fetch(self, daemon: Daemon, known: Documents, target: Descriptor) -> None:
        if self.content.exists(target.digest):
            return
        try:
            with self.content.writer(
                f"get-{target.digest}", digest=target.digest, size=target.size
            ) as writer:
                for data in blobs.pieces(daemon, target.digest):
                    writer.write(data)
                writer.commit()
        except NotFound:
            return  # an index may list what is not here
        for each in known.below(target):
            self._fetch(daemon, known, each)


def name(daemon: Daemon, name: str, target: Descriptor, labels: Mapping[str, str]) -> messages.Image:
    """Give content of the daemon's a name, or another meaning to the name it has."""
    wanted = types.Descriptor(media_type=target.media_type, digest=target.digest, size=target.size)
    image = messages.Image(name=name, target=wanted, labels=dict(labels))
    try:
        made: messages.Image = daemon.ask(IMAGES, "Create", messages.CreateImageRequest(image=image)).image
    except AlreadyExists:
        made = daemon.ask(IMAGES, "Update", messages.UpdateImageRequest(image=image)).image
    return made
