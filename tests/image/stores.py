"""A whole set of stores below one directory, for tests that bring images in."""

from __future__ import annotations

import os
from pathlib import Path

from cloche.image import resolve
from cloche.image.resolve import Chosen
from cloche.kernel import mounts, syscalls
from cloche.spec.image import Descriptor
from cloche.store import images
from cloche.store.content import ContentStore
from cloche.store.images import Image
from cloche.store.metadata import Metadata
from cloche.store.snapshots.local import LocalSnapshotter
from cloche.store.snapshots.open import snapshotter

NAMESPACE = "default"


class Stores:
    """Content, metadata and a snapshotter; `show` mounts an unpacked image for a look."""

    def __init__(self, root: Path, kind: str = "overlayfs") -> None:
        self.root = root
        self.content = ContentStore(f"{root}/content")
        self.metadata = Metadata(f"{root}/meta.db")
        self.snapshotter: LocalSnapshotter = snapshotter(kind, str(root))

    def image(self, name: str) -> Image | None:
        """The row of a name."""
        with self.metadata.read() as tx:
            return images.get(tx, NAMESPACE, name)

    def chosen(self, image: Image) -> Chosen:
        """What an image is on this machine."""
        target = Descriptor(image.target.media_type, image.target.digest, image.target.size)
        read = resolve.from_content(self.content)
        return resolve.choose(target, resolve.host_platform(), read, name=image.name)

    def snapshots(self) -> list[str]:
        """The names of all snapshots."""
        with self.metadata.read() as tx:
            return [info.name for info in self.snapshotter.walk(tx)]

    def leftovers(self) -> list[str]:
        """Directories of snapshots that no row accounts for."""
        directory = f"{self.snapshotter.root}/snapshots"
        found = os.listdir(directory) if os.path.isdir(directory) else []
        return found if len(found) != len(self.snapshots()) else []

    def show(self, name: str, place: Path) -> Shown:
        """A `with` block in which a committed snapshot is mounted at `place`, for reading."""
        return Shown(self, name, place)


class Shown:
    """See Stores.show."""

    def __init__(self, stores: Stores, name: str, place: Path) -> None:
        self._stores = stores
        self._name = name
        self._place = place
        self._key = f"show-{os.urandom(4).hex()}"

    def __enter__(self) -> Path:
        stores = self._stores
        with stores.metadata.write() as tx:
            wanted = stores.snapshotter.view(tx, self._key, self._name)
        self._place.mkdir(exist_ok=True)
        mount = mounts.assemble(wanted)
        try:
            syscalls.move_mount(mount, syscalls.AT_FDCWD, str(self._place))
        finally:
            os.close(mount)
        return self._place

    def __exit__(self, *_: object) -> None:
        syscalls.umount2(str(self._place), syscalls.MNT_DETACH)
        with self._stores.metadata.write() as tx:
            self._stores.snapshotter.remove(tx, self._key)
        self._stores.snapshotter.purge()
