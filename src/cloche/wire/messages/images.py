"""The image service's messages: names for content (containerd.services.images.v1)."""

from __future__ import annotations

from cloche.wire.messages.google import Empty, FieldMask, Timestamp
from cloche.wire.messages.types import Descriptor
from cloche.wire.protobuf import Message, boolean, mapping, message, repeated, string
from cloche.wire.protobuf_values import STRING
from cloche.wire.service import Method, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "containerd.services.images.v1"


class Image(Message, package=_PACKAGE):
    """A name and what it stands for: an index or a manifest."""

    name: str = string(1)
    labels: Mapping[str, str] = mapping(2, STRING, STRING)
    target: Descriptor | None = message(3, Descriptor)
    created_at: Timestamp | None = message(7, Timestamp)
    updated_at: Timestamp | None = message(8, Timestamp)


class GetImageRequest(Message, package=_PACKAGE):
    """Ask for one image."""

    name: str = string(1)


class GetImageResponse(Message, package=_PACKAGE):
    """The image."""

    image: Image | None = message(1, Image)


class CreateImageRequest(Message, package=_PACKAGE):
    """Make a name. source_date_epoch: the time to note instead of now."""

    image: Image | None = message(1, Image)
    source_date_epoch: Timestamp | None = message(2, Timestamp)


class CreateImageResponse(Message, package=_PACKAGE):
    """The image as it was made."""

    image: Image | None = message(1, Image)


class UpdateImageRequest(Message, package=_PACKAGE):
    """Change an image: the fields that the mask names, or all."""

    image: Image | None = message(1, Image)
    update_mask: FieldMask | None = message(2, FieldMask)
    source_date_epoch: Timestamp | None = message(3, Timestamp)


class UpdateImageResponse(Message, package=_PACKAGE):
    """The image as it is now."""

    image: Image | None = message(1, Image)


class ListImagesRequest(Message, package=_PACKAGE):
    """Ask for images. filters: any of them has to match."""

    filters: Sequence[str] = repeated(1, STRING)


class ListImagesResponse(Message, package=_PACKAGE):
    """The images."""

    images: Sequence[Image] = repeated(1, Image)


class DeleteImageRequest(Message, package=_PACKAGE):
    """Forget a name. sync: answer when its content is gone; target: only if it still stands for that."""

    name: str = string(1)
    sync: bool = boolean(2)
    target: Descriptor | None = message(3, Descriptor)


IMAGES = Service(
    f"{_PACKAGE}.Images",
    Method("Get", GetImageRequest, GetImageResponse),
    Method("List", ListImagesRequest, ListImagesResponse),
    Method("Create", CreateImageRequest, CreateImageResponse),
    Method("Update", UpdateImageRequest, UpdateImageResponse),
    Method("Delete", DeleteImageRequest, Empty),
)
