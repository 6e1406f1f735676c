"""From what an image's name points to, to the one manifest and config for a platform."""

from __future__ import annotations

import os

from cloche.errors import InvalidArgument, NotFound
from cloche.spec import image as documents
from cloche.spec import platform as platforms
from cloche.spec.image import ImageConfig, Index, Manifest
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.image.processors import Processors
    from cloche.spec.image import Descriptor
    from cloche.spec.platform import Platform
    from cloche.store.content import ContentStore

    Read = Callable[[Descriptor], bytes]


class Chosen(Record):
    """One image of what a name points to.

    target: where the search began. manifest, config: parsed, with the manifest's own descriptor.
    indexes: the indexes on the way, each with its descriptor, the target first.
    """

    target: Descriptor
    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig
    indexes: tuple[tuple[Descriptor, Index], ...] = ()

    @property
    def chain_id(self) -> str:
        """The name of its unpacked layers."""
        return documents.chain_id(self.config.diff_ids)


def host_platform() -> Platform:
    """The platform of this machine."""
    return platforms.of_machine(os.uname().machine)


def completed(platform: Platform | None) -> Platform:
    """The platform asked for: this machine's where none was, its architecture where only a system was."""
    if platform is None:
        return host_platform()
    if not platform.architecture:
        mine = host_platform()
        return platform.replace(architecture=mine.architecture, variant=mine.variant)
    return platform.normalised()


def choose(target: Descriptor, platform: Platform, read: Read, *, name: str) -> Chosen:
    """Walk from an index or a manifest down to the config for a platform.

    read: fetches a document's verified bytes. name: the image, for messages. Raises NotFound where
    there is nothing for the platform, InvalidArgument for documents that are no container image.
    """
    indexes: list[tuple[Descriptor, Index]] = []
    descriptor = target
    while True:
        document = documents.parse(
            read(descriptor), descriptor.media_type, name=f"{name}: {descriptor.digest}"
        )
        if isinstance(document, Manifest):
            break
        indexes.append((descriptor, document))
        if len(indexes) > documents.INDEX_DEPTH_LIMIT:
            raise InvalidArgument(f"{name}: indexes nested deeper than {documents.INDEX_DEPTH_LIMIT}")
        try:
            descriptor = documents.choose(document, platform)
        except NotFound as error:
            raise NotFound(f"{name}: {error}") from None
    config = _config(document, read, name)
    _check_layers(config, document, name)
    if not indexes:
        _check_platform(config, platform, name)
    return Chosen(target, descriptor, document, config, tuple(indexes))


def from_content(content: ContentStore) -> Read:
    """The `read` of `choose` for images that are here already."""
    return lambda descriptor: content.read(descriptor.digest, limit_bytes=documents.DOCUMENT_LIMIT_BYTES)


def _config(manifest: Manifest, read: Read, name: str) -> ImageConfig:
    descriptor = manifest.config
    if descriptor.media_type not in documents.CONFIG_TYPES:
        kind = manifest.artifact_type or descriptor.media_type
        raise InvalidArgument(f"{name}: is no container image but an artifact of type {kind[:100]!r}")
    if descriptor.size > documents.DOCUMENT_LIMIT_BYTES:
        raise InvalidArgument(f"{name}: its config is larger than {documents.DOCUMENT_LIMIT_BYTES} bytes")
    return ImageConfig.parse(read(descriptor), f"{name}: config {descriptor.digest}")


def _check_layers(config: ImageConfig, manifest: Manifest, name: str) -> None:
    if len(config.diff_ids) != len(manifest.layers):
        raise InvalidArgument(
            f"{name}: {len(manifest.layers)} layers in the manifest, but {len(config.diff_ids)} in the config"
        )


def _check_platform(config: ImageConfig, platform: Platform, name: str) -> None:
    """A lone manifest says in its config what it is for (an index is believed, as configs omit variants).

    Images without an architecture come from small tools, and are taken for what was asked.
    """
    if config.architecture and platform.rank(config.platform) is None:
        raise NotFound(
            f"{name}: is for {config.platform.normalised()}, not {platform}; ask for that platform to have it"
        )


def check_layers(manifest: Manifest, processors: Processors, name: str) -> None:
    """Raises InvalidArgument where something among the layers is none, and does not become one."""
    for layer in manifest.layers:
        try:
            processors.chain(layer.media_type)
        except InvalidArgument as error:
            raise InvalidArgument(f"{name}: {layer.digest} of {error}") from None
