"""The images of an engine's namespace: found, fetched, made, named and removed."""

from __future__ import annotations

import os

from cloche.engine.names import is_hexadecimal
from cloche.errors import ClocheError, FailedPrecondition, InvalidArgument, NotFound
from cloche.spec import platform as platforms
from cloche.spec import reference as references
from cloche.spec.image_config import ImageConfig
from cloche.store import images as store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from threading import Event
    from typing import Any, BinaryIO

    from cloche.engine.context import Context
    from cloche.image.credentials import Credentials
    from cloche.image.progress import Progress
    from cloche.spec.image import Descriptor
    from cloche.spec.platform import Platform
    from cloche.store.images import Resolution
    from cloche.store.metadata import Transaction


class Image:
    """An image on one platform, unpacked and ready to run.

    asked: how it was asked for. reference: its full name, empty where it has none. id: digest of
    its config; digest: of what the name points to. chain_id: its layers.
    """

    __slots__ = (
        "_context",
        "_row",
        "asked",
        "chain_id",
        "config",
        "digest",
        "id",
        "manifest_digest",
        "reference",
    )

    def __init__(
        self, context: Context, row: store.Image, found: Resolution, config: ImageConfig, asked: str = ""
    ) -> None:
        self._context = context
        self._row = row
        self.reference = row.name
        self.asked = asked or self.name
        self.id = found.config_digest
        self.manifest_digest = found.manifest_digest
        self.chain_id = found.chain_id
        self.digest = row.target.digest
        self.config = config

    def __repr__(self) -> str:
        return f"<Image {self.name} {self.id[7:19]}>"

    @property
    def name(self) -> str:
        """`tools:latest`: the reference as people write it."""
        return references.familiar(self.reference)

    @property
    def row(self) -> store.Image:
        """The image as the store has it."""
        return self._row

    @property
    def labels(self) -> dict[str, str]:
        """What its maker noted in its config."""
        return dict(self.config.labels)

    @property
    def created(self) -> str:
        """When it was made, RFC 3339; empty where it does not say."""
        return self.config.created

    def inspect(self) -> dict[str, Any]:
        """All that is known about it, in the shape of Docker's API."""
        from cloche.engine.inspection import image

        return image(self)

    @property
    def repo_names(self) -> tuple[list[str], list[str]]:
        """(names with tags, names with digests) of everything that is this image."""
        with self._context.metadata.read() as tx:
            rows = store.list(tx, self._context.namespace)
        names = [references.familiar(row.name) for row in rows if row.target.digest == self.digest]
        return (
            [name for name in names if "@" not in name],
            sorted({f"{name.partition('@')[0].rpartition(':')[0] or name}@{self.digest}" for name in names}),
        )

    @property
    def size_bytes(self) -> int:
        """What its layers take on disk, unpacked."""
        total, key = 0, self.chain_id
        snapshotter = self._context.snapshotter()
        with self._context.metadata.read() as tx:
            while key:
                total += snapshotter.usage(tx, key).size
                key = snapshotter.stat(tx, key).parent
        return total


class Images:
    """Finds, fetches, makes, names and removes images."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._configs: dict[str, ImageConfig] = {}
        self._host = str(platforms.of_machine(os.uname().machine))

    def get(self, reference: str, *, platform: str = "") -> Image:
        """The image of a name, or of (the beginning of) an id; unpacked, if it was not.

        platform: of an index's images, `os/architecture`; this machine's by default. Raises
        NotFound.
        """
        wanted = str(_platform(platform)) if platform else self._host
        snapshotter = self._context.snapshotter()
        with self._context.metadata.read() as tx:
            row = self.find(tx, reference)
            found = store.resolution(tx, row.target.digest, wanted)
            ready = found is not None and (not found.chain_id or snapshotter.exists(tx, found.chain_id))
        if found is None or not ready:
            found = self._unpack(row, wanted)
        return Image(self._context, row, found, self._config(found.config_digest), reference)

    def find(self, tx: Transaction, reference: str) -> store.Image:
        """The row of a name, or of (the beginning of) an id. Raises NotFound."""
        namespace = self._context.namespace
        digits = reference.removeprefix("sha256:")
        by_id = is_hexadecimal(digits) and (reference != digits or len(digits) >= 2)
        if reference == digits:
            try:
                row = store.get(tx, namespace, str(references.parse(reference)))
            except InvalidArgument:
                if not by_id:
                    raise
                row = None
            if row is not None:
                return row
        if by_id:
            rows = self._with_id(tx, f"sha256:{digits}")
            if rows:
                return rows[0]
        raise NotFound(f"no such image: {reference}")

    def _with_id(self, tx: Transaction, beginning: str) -> list[store.Image]:
        """Every name of the one image whose config's or target's digest begins so."""
        found: dict[str, list[store.Image]] = {}
        for row in store.list(tx, self._context.namespace):
            resolution = store.resolution(tx, row.target.digest, self._host)
            config = resolution.config_digest if resolution is not None else row.target.digest
            if config.startswith(beginning) or row.target.digest.startswith(beginning):
                found.setdefault(config, []).append(row)
        if len(found) > 1:
            raise FailedPrecondition(f"image id {beginning[7:]!r}: several begin so: give more of it")
        return next(iter(found.values()), [])

    def _config(self, digest: str) -> ImageConfig:
        config = self._configs.get(digest)
        if config is None:
            data = self._context.content.read(digest)
            config = self._configs[digest] = ImageConfig.parse(data, f"image config {digest}")
        return config

    def _unpack(self, row: store.Image, platform: str) -> Resolution:
        """Find the image for a platform and unpack it, as a pull would have."""
        from cloche.image import resolve
        from cloche.image.install import install
        from cloche.spec.image import Descriptor

        target = Descriptor(row.target.media_type, row.target.digest, row.target.size)
        read = resolve.from_content(self._context.content)
        chosen = resolve.choose(target, _platform(platform), read, name=references.familiar(row.name))
        install(
            row.name,
            chosen,
            content=self._context.content,
            metadata=self._context.metadata,
            namespace=self._context.namespace,
            platform=platform,
            snapshotter=self._context.snapshotter(),
            labels=row.labels,
            processors=self._context.processors,
        )
        with self._context.metadata.read() as tx:
            found = store.resolution(tx, row.target.digest, platform)
        if found is None:
            raise NotFound(f"no such image: {references.familiar(row.name)} for {platform}")
        return found

    def exists(self, reference: str) -> bool:
        """Whether `get` would find it, unpacked or not."""
        try:
            with self._context.metadata.read() as tx:
                self.find(tx, reference)
        except (NotFound, InvalidArgument):
            return False
        return True

    def rows(self) -> tuple[store.Image, ...]:
        """Every name as the store has it, whatever its platform."""
        with self._context.metadata.read() as tx:
            return store.list(tx, self._context.namespace)

    def list(self) -> list[Image]:
        """Every named image that is for this machine's platform, the newest first."""
        found = []
        for row in self.rows():
            try:
                found.append(self.get(row.name))
            except ClocheError:
                continue
        return sorted(found, key=lambda image: image.created, reverse=True)

    def pull(
        self,
        reference: str,
        *,
        platform: str = "",
        auth: Credentials | None = None,
        plain_http: bool | None = None,
        skip_verify: bool = False,
        ca: tuple[str, ...] = (),
        hosts_dir: str = "",
        progress: Progress | None = None,
        cancelled: Event | None = None,
        workers: int = 3,
    ) -> Image:
        """Fetch an image from its registry, and unpack it.

        auth: credentials; None looks in Docker's configuration. plain_http: True and False force HTTP
        and HTTPS; None tries HTTP on this machine only. skip_verify: accept any TLS certificate.
        ca: PEM files trusted beside the system's. hosts_dir: where registries are configured, in place of
        /etc/containerd/certs.d and /etc/docker/certs.d. cancelled: set it to have the pull end soon.
        workers: how many layers arrive at once.
        Raises NotFound, PermissionDenied, Unavailable and DataLoss as the registry gives cause, Cancelled.
        """
        from cloche.image.pull import pull

        row = pull(
            reference,
            content=self._context.content,
            metadata=self._context.metadata,
            namespace=self._context.namespace,
            snapshotter=self._context.snapshotter(),
            platform=_platform(platform) if platform else None,
            auth=auth,
            plain_http=plain_http,
            skip_verify=skip_verify,
            ca=ca,
            hosts_dir=hosts_dir,
            progress=progress,
            cancelled=cancelled,
            workers=workers,
            owner=self._context.owner().name,
            verify=self._context.verifiers.check if self._context.verifiers else None,
            processors=self._context.processors,
        )
        return self.get(row.name, platform=platform)

    def push(
        self,
        reference: str,
        *,
        platform: str = "",
        auth: Credentials | None = None,
        plain_http: bool | None = None,
        skip_verify: bool = False,
        ca: tuple[str, ...] = (),
        hosts_dir: str = "",
        progress: Progress | None = None,
        cancelled: Event | None = None,
    ) -> Descriptor:
        """Send an image to the registry of its name; returns what the tag there now points to.

        platform: only this one of an index; by default all of it where it is here. The other
        arguments and errors are those of `pull`.
        """
        from cloche.image.push import push

        return push(
            reference,
            content=self._context.content,
            metadata=self._context.metadata,
            namespace=self._context.namespace,
            platform=_platform(platform) if platform else None,
            auth=auth,
            plain_http=plain_http,
            skip_verify=skip_verify,
            ca=ca,
            hosts_dir=hosts_dir,
            progress=progress,
            cancelled=cancelled,
        )

    def from_host(
        self, name: str, programs: Sequence[str], *, warn: Callable[[str], None] | None = None
    ) -> Image:
        """Make an image of this machine's own programs and all the libraries they load.

        warn: told of libraries that were not found, a line each.
        """
        from cloche.image.from_host import build

        built = build(
            name,
            programs,
            content=self._context.content,
            metadata=self._context.metadata,
            namespace=self._context.namespace,
            snapshotter=self._context.snapshotter(),
        )
        for line in built.missing:
            if warn is not None:
                warn(line)
        return self.get(built.image.name)

    def tag(self, source: str, target: str) -> Image:
        """Give an image another name, taking it from whatever had it. Raises NotFound."""
        name = references.parse(target)
        if name.digest:
            raise InvalidArgument(f"cannot tag {target!r}: a new name cannot have a digest")
        with self._context.metadata.write() as tx:
            row = self.find(tx, source)
            store.put(tx, self._context.namespace, row.replace(name=str(name)))
        return self.get(str(name))

    def load(self, source: str | BinaryIO, *, name: str = "") -> Sequence[Image]:
        """Read the images of an OCI layout directory, an OCI archive or a docker archive.

        source: a path, or a binary file. name: for an image that the archive gives none.
        """
        from cloche.engine.transfer import load

        return [self.get(each) for each in load(self._context, source, name)]

    def import_archive(
        self,
        source: str | BinaryIO,
        *,
        name: str = "",
        changes: Sequence[str] = (),
        message: str = "",
        platform: str = "",
    ) -> tuple[Sequence[Image], bool]:
        """Make an image of a root file system in a tar archive; an archive of images is loaded.

        changes: Dockerfile instructions. message: for the history. platform: what the files are for.
        Returns the images, and whether it was a root file system.
        """
        from cloche.engine.transfer import take_in

        what_for = _platform(platform) if platform else None
        done = take_in(self._context, source, name, changes=changes, message=message, platform=what_for)
        return [self.get(each, platform=platform) for each in done.names], done.is_root

    def save(self, images: Iterable[str], file: BinaryIO, *, platform: str = "") -> None:
        """Write images to an archive that is an OCI and a docker archive in one."""
        from cloche.engine.transfer import save

        wanted = _platform(platform) if platform else None
        found = [self.get(each, platform=platform) for each in images]
        save(self._context, found, file.write, wanted)

    def remove(self, reference: str, *, force: bool = False) -> Sequence[str]:
        """Take a name away, and the image with its last one; lines saying what went, as Docker's.

        Raises NotFound, and FailedPrecondition where a container uses it (unless forced) or an id
        has several names.
        """
        from cloche.engine.image_removal import remove

        return remove(self._context, self, reference, force=force)

    def prune(self) -> Sequence[str]:
        """Remove what no name leads to any more; lines saying what went."""
        from cloche.engine.image_removal import prune

        return prune(self._context)


def _platform(text: str) -> Platform:
    platform = platforms.parse(text)
    if not platform.architecture:
        mine = platforms.of_machine(os.uname().machine)
        platform = platform.replace(architecture=mine.architecture, variant=mine.variant)
    return platform.normalised()
