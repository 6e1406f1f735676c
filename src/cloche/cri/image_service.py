"""`runtime.v1.ImageService`."""

from __future__ import annotations

from cloche.cri.images import Images
from cloche.errors import InvalidArgument
from cloche.spec.document import dumps
from cloche.store import images as store
from cloche.wire.messages.cri import images as messages
from cloche.wire.messages.metadata_events import ImageDelete
from cloche.wire.services.cri import IMAGES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cloche.cri.host import Host
    from cloche.cri.image_space import ImageSpace
    from cloche.cri.images import Image
    from cloche.cri.pulling import Puller

_PORTION = 500


class ImageService:
    """The service."""

    SERVICE = IMAGES

    def __init__(self, host: Host, images: Images, puller: Puller, space: ImageSpace) -> None:
        self._host = host
        self._images = images
        self._puller = puller
        self._space = space

    async def pull_image(
        self, _call: object, request: messages.PullImageRequest
    ) -> messages.PullImageResponse:
        """Fetch an image; the answer is its id."""
        reference = _named(request.image)
        return messages.PullImageResponse(image_ref=await self._puller.pull(reference, request.auth))

    async def list_images(
        self, _call: object, request: messages.ListImagesRequest
    ) -> messages.ListImagesResponse:
        """All images, or the one that is asked for."""
        found = await self._chosen(request.filter)
        return messages.ListImagesResponse(images=[image.message() for image in found])

    async def stream_images(
        self, _call: object, request: messages.StreamImagesRequest
    ) -> AsyncIterator[messages.StreamImagesResponse]:
        """The same, in several answers."""
        found = await self._chosen(request.filter)
        for begin in range(0, len(found), _PORTION):
            portion = found[begin : begin + _PORTION]
            yield messages.StreamImagesResponse(images=[image.message() for image in portion])

    async def _chosen(self, chosen: messages.ImageFilter | None) -> list[Image]:
        name = chosen.image.image if chosen and chosen.image else ""
        if not name:
            everything: list[Image] = await self._host.run(self._images.all)
            return everything
        found: Image | None = await self._host.run(self._images.find, name)
        return [found] if found else []

    async def image_status(
        self, _call: object, request: messages.ImageStatusRequest
    ) -> messages.ImageStatusResponse:
        """One image; no image where there is none."""
        found: Image | None = await self._host.run(self._images.find, _named(request.image))
        if found is None:
            return messages.ImageStatusResponse()
        info = {"chainID": found.found.chain_id, "imageSpec": found.config.document}
        verbose = {"info": dumps(info).decode()} if request.verbose else {}
        return messages.ImageStatusResponse(image=found.message(), info=verbose)

    async def remove_image(
        self, _call: object, request: messages.RemoveImageRequest
    ) -> messages.RemoveImageResponse:
        """Remove an image with all its names; one that is gone is none to complain of."""
        await self._host.run(self._remove, _named(request.image))
        return messages.RemoveImageResponse()

    def _remove(self, text: str) -> None:
        found = self._images.find(text)
        if found is None:
            return
        context = self._host.context
        gone = []
        with context.metadata.write() as tx:
            for row in found.rows:
                if store.get(tx, context.namespace, row.name) is not None:
                    store.delete(tx, context.namespace, row.name)
                    gone.append(row)
        for row in gone:
            self._host.publish("/images/delete", ImageDelete(name=row.name))
        self._host.released(tuple({row.target.digest for row in gone}))

    async def image_fs_info(
        self, _call: object, _request: messages.ImageFsInfoRequest
    ) -> messages.ImageFsInfoResponse:
        """What images and containers take on disk, which share one file system."""
        usage = self._space.message(await self._space.measured())
        return messages.ImageFsInfoResponse(image_filesystems=[usage], container_filesystems=[usage])


def _named(spec: messages.ImageSpec | None) -> str:
    if spec is None or not spec.image:
        raise InvalidArgument("image: its name must not be empty")
    return spec.image
