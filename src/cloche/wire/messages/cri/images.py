"""Images: pulled, listed and removed."""

from __future__ import annotations

from cloche.wire.messages.cri.pod_config import PodSandboxConfig
from cloche.wire.messages.cri.values import FilesystemUsage, Int64Value
from cloche.wire.protobuf import Message, boolean, mapping, message, repeated, string, uint64
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PACKAGE = "runtime.v1"


class ImageSpec(Message, package=_PACKAGE):
    """An image by name, digest or id.

    user_specified_image: as the pod has it; image_ref: what the name was found to be.
    """

    image: str = string(1)
    annotations: Mapping[str, str] = mapping(2, STRING, STRING)
    user_specified_image: str = string(18)
    runtime_handler: str = string(19)
    image_ref: str = string(20)


class ImageFilter(Message, package=_PACKAGE):
    """Which images."""

    image: ImageSpec | None = message(1, ImageSpec)


class ListImagesRequest(Message, package=_PACKAGE):
    """Ask for images."""

    filter: ImageFilter | None = message(1, ImageFilter)


class Image(Message, package=_PACKAGE):
    """An image. size: in bytes, as it was fetched; pinned: it is not to be removed for room."""

    id: str = string(1)
    repo_tags: Sequence[str] = repeated(2, STRING)
    repo_digests: Sequence[str] = repeated(3, STRING)
    size: int = uint64(4)
    uid: Int64Value | None = message(5, Int64Value)
    username: str = string(6)
    spec: ImageSpec | None = message(7, ImageSpec)
    pinned: bool = boolean(8)


class ListImagesResponse(Message, package=_PACKAGE):
    """The images."""

    images: Sequence[Image] = repeated(1, Image)


class StreamImagesRequest(Message, package=_PACKAGE):
    """Ask for images, in several answers."""

    filter: ImageFilter | None = message(1, ImageFilter)


class StreamImagesResponse(Message, package=_PACKAGE):
    """Some of them."""

    images: Sequence[Image] = repeated(1, Image)


class ImageStatusRequest(Message, package=_PACKAGE):
    """Ask for one image. verbose: with all that is known."""

    image: ImageSpec | None = message(1, ImageSpec)
    verbose: bool = boolean(2)


class ImageStatusResponse(Message, package=_PACKAGE):
    """It; none where there is none."""

    image: Image | None = message(1, Image)
    info: Mapping[str, str] = mapping(2, STRING, STRING)


class AuthConfig(Message, package=_PACKAGE):
    """Credentials for a registry. auth: user and password, in base64."""

    username: str = string(1)
    password: str = string(2)
    auth: str = string(3)
    server_address: str = string(4)
    identity_token: str = string(5)
    registry_token: str = string(6)


class PullImageRequest(Message, package=_PACKAGE):
    """Fetch an image."""

    image: ImageSpec | None = message(1, ImageSpec)
    auth: AuthConfig | None = message(2, AuthConfig)
    sandbox_config: PodSandboxConfig | None = message(3, PodSandboxConfig)


class PullImageResponse(Message, package=_PACKAGE):
    """What it is from now on called."""

    image_ref: str = string(1)


class RemoveImageRequest(Message, package=_PACKAGE):
    """Remove an image with all its names."""

    image: ImageSpec | None = message(1, ImageSpec)


class RemoveImageResponse(Message, package=_PACKAGE):
    """It is gone."""


class ImageFsInfoRequest(Message, package=_PACKAGE):
    """Ask for the room that images take."""


class ImageFsInfoResponse(Message, package=_PACKAGE):
    """What images and containers take."""

    image_filesystems: Sequence[FilesystemUsage] = repeated(1, FilesystemUsage)
    container_filesystems: Sequence[FilesystemUsage] = repeated(2, FilesystemUsage)
