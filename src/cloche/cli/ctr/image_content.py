"""What a daemon's image consists of: its documents, read over the content service."""

from __future__ import annotations

from cloche.cli.ctr import blobs
from cloche.errors import NotFound
from cloche.image import resolve
from cloche.spec import image as documents
from cloche.spec import platform as platforms
from cloche.spec.image import Descriptor, Index
from cloche.wire.messages import images as messages
from cloche.wire.messages.images import IMAGES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloche.cli.ctr.daemon import Daemon
    from cloche.image.resolve import Chosen
    from cloche.spec.platform import Platform


def get(daemon: Daemon, name: str) -> messages.Image:
    """An image. Raises NotFound."""
    image: messages.Image = daemon.ask(IMAGES, "Get", messages.GetImageRequest(name=name)).image
    return image


def every(daemon: Daemon, filters: list[str] | None = None) -> list[messages.Image]:
    """The images that any of the filters matches; all without filters."""
    return list(daemon.ask(IMAGES, "List", messages.ListImagesRequest(filters=filters or [])).images)


def target_of(image: messages.Image) -> Descriptor:
    """What an image's name stands for."""
    if image.target is None:
        raise NotFound(f"image {image.name!r}: stands for nothing")
    return Descriptor(image.target.media_type, image.target.digest, image.target.size)


def platform_of(text: str) -> Platform:
    """The platform that a flag names; this machine's where it is empty. Raises InvalidArgument."""
    return resolve.completed(platforms.parse(text) if text else None)


class Documents:
    """Indexes, manifests and configs of images; none is read twice."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._known: dict[str, bytes] = {}

    def read(self, descriptor: Descriptor) -> bytes:
        """A document's verified bytes. Raises NotFound."""
        if descriptor.digest not in self._known:
            self._known[descriptor.digest] = blobs.document(self._daemon, descriptor.digest)
        return self._known[descriptor.digest]

    def choose(self, image: messages.Image, platform: Platform) -> Chosen:
        """The manifest and config for a platform. Raises NotFound."""
        return resolve.choose(target_of(image), platform, self.read, name=image.name)

    def below(self, descriptor: Descriptor) -> tuple[Descriptor, ...]:
        """What an index or a manifest refers to, in order; nothing for other content. Raises NotFound."""
        if descriptor.media_type not in (*documents.INDEX_TYPES, *documents.MANIFEST_TYPES):
            return ()
        document = documents.parse(self.read(descriptor), descriptor.media_type)
        if isinstance(document, Index):
            return document.manifests
        return (document.config, *document.layers)

    def platforms(self, descriptor: Descriptor) -> Iterator[str]:
        """Every platform that an image is for; what says that it is for none is left out."""
        if descriptor.media_type in documents.INDEX_TYPES:
            for each in self.below(descriptor):
                yield from self.platforms(each)
        elif descriptor.platform is not None:
            if "unknown" not in (descriptor.platform.os, descriptor.platform.architecture):
                yield str(descriptor.platform.normalised())
        else:
            config = self.below(descriptor)[0]
            from cloche.spec.image_config import ImageConfig

            yield str(ImageConfig.parse(self.read(config)).platform.normalised())
