"""Images: names for content (containerd.services.images.v1)."""

from __future__ import annotations

from cloche.errors import InvalidArgument, NotFound
from cloche.spec import filters
from cloche.store import images as store
from cloche.store import labels as label_column
from cloche.store.images import Image, Target
from cloche.wire.messages import images as messages
from cloche.wire.messages.google import Empty, Timestamp
from cloche.wire.messages.metadata_events import ImageCreate, ImageDelete, ImageUpdate
from cloche.wire.messages.types import Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloche.api.call import Call
    from cloche.api.host import Host
    from cloche.engine.context import Context


class Images:
    """The service."""

    SERVICE = messages.IMAGES

    def __init__(self, host: Host) -> None:
        self._host = host

    def get(self, call: Call, request: messages.GetImageRequest) -> messages.GetImageResponse:
        """One image by its exact name."""
        context = self._host.context(call)
        with context.metadata.read() as tx:
            image = store.get(tx, context.namespace, request.name)
        if image is None:
            raise missing(request.name)
        return messages.GetImageResponse(image=to_message(image))

    def list(self, call: Call, request: messages.ListImagesRequest) -> messages.ListImagesResponse:
        """Those that the filters choose."""
        context = self._host.context(call)
        chosen = filters.parse(request.filters)
        with context.metadata.read() as tx:
            found = store.list(tx, context.namespace)
        return messages.ListImagesResponse(
            images=[to_message(image) for image in found if not chosen or chosen.matches(_fields(image))]
        )

    async def create(self, call: Call, request: messages.CreateImageRequest) -> messages.CreateImageResponse:
        """A new name."""
        image = from_message(request.image)
        made = await call.run(self._create, self._host.context(call), call, image)
        return messages.CreateImageResponse(image=to_message(made))

    def _create(self, context: Context, call: Call, image: Image) -> Image:
        _validate(image)
        with context.metadata.write() as tx:
            made = store.create(tx, context.namespace, image)
            self._host.lease(tx, call, "images", image.name)
        self._host.publish(
            context.namespace, "/images/create", ImageCreate(name=image.name, labels=image.labels)
        )
        return made

    async def update(self, call: Call, request: messages.UpdateImageRequest) -> messages.UpdateImageResponse:
        """Other labels, annotations or target; without a mask all of them."""
        image = from_message(request.image)
        paths = request.update_mask.paths if request.update_mask else ()
        changed = await call.run(self._update, self._host.context(call), image, paths)
        return messages.UpdateImageResponse(image=to_message(changed))

    def _update(self, context: Context, image: Image, paths: Sequence[str]) -> Image:
        if not image.name:
            raise InvalidArgument("image name is required for update")
        with context.metadata.write() as tx:
            old = store.get(tx, context.namespace, image.name)
            if old is None:
                raise missing(image.name)
            new = masked(old, image, paths) if paths else image
            _validate(new)
            changed = store.put(tx, context.namespace, new)
        event = ImageUpdate(name=changed.name, labels=changed.labels)
        self._host.publish(context.namespace, "/images/update", event)
        return changed

    async def delete(self, call: Call, request: messages.DeleteImageRequest) -> Empty:
        """Forget a name; sync: what only it referred to is gone when this returns."""
        await call.run(self._delete, self._host.context(call), request)
        return Empty()

    def _delete(self, context: Context, request: messages.DeleteImageRequest) -> None:
        with context.metadata.write() as tx:
            old = store.get(tx, context.namespace, request.name)
            if old is None:
                raise missing(request.name)
            wanted = request.target.digest if request.target else ""
            if wanted and wanted != old.target.digest:
                raise NotFound(f"image {request.name!r}: has target {old.target.digest}, not {wanted}")
            store.delete(tx, context.namespace, request.name)
        self._host.publish(context.namespace, "/images/delete", ImageDelete(name=request.name))
        if request.sync:
            from cloche.engine.image_removal import collect_released
            from cloche.store.collect import released_now

            collect_released(context, released_now(old.target.digest))
        else:
            self._host.on_garbage((old.target.digest,))


def missing(name: str) -> NotFound:
    """That there is no such image."""
    return NotFound(f"image {name!r}: not found")


def to_message(image: Image) -> messages.Image:
    """An image as clients get it."""
    return messages.Image(
        name=image.name,
        labels=image.labels,
        target=to_descriptor(image.target),
        created_at=Timestamp.of(image.created_at),
        updated_at=Timestamp.of(image.updated_at),
    )


def to_descriptor(target: Target) -> Descriptor:
    """What a name stands for, as clients get it."""
    return Descriptor(
        media_type=target.media_type,
        digest=target.digest,
        size=target.size,
        annotations=target.annotations,
    )


def from_message(message: messages.Image | None) -> Image:
    """An image as a client sent it. Raises InvalidArgument where there is none."""
    if message is None:
        raise InvalidArgument("the request has no image")
    target = message.target or Descriptor()
    return Image(
        message.name,
        Target(target.media_type, target.digest, target.size, dict(target.annotations)),
        dict(message.labels),
    )


def _validate(image: Image) -> None:
    if image.target.size <= 0:
        raise InvalidArgument(f"image {image.name!r}: target.Size must be greater than zero")
    if not image.target.media_type:
        raise InvalidArgument(f"image {image.name!r}: target.MediaType must be set")


def masked(old: Image, new: Image, paths: Sequence[str]) -> Image:
    """The old image with those fields of the new one that the paths name. Raises InvalidArgument."""
    labels: Mapping[str, str] = old.labels
    target = old.target
    for path in paths:
        field, _, key = path.partition(".")
        if field == "labels":
            labels = label_column.merged(labels, {key: new.labels.get(key)}) if key else new.labels
        elif field == "annotations":
            wanted = {key: new.target.annotations.get(key)}
            kept = label_column.merged(target.annotations, wanted) if key else new.target.annotations
            target = target.replace(annotations=kept)
        elif path == "target":
            target = new.target
        else:
            raise InvalidArgument(f"cannot update {path!r} field on image {new.name!r}")
    return old.replace(labels=labels, target=target)


def _fields(image: Image) -> filters.Fields:
    def field(path: tuple[str, ...]) -> str | None:
        if path == ("name",):
            return image.name
        if path[0] == "target" and len(path) > 1:
            target = {"digest": image.target.digest, "mediatype": image.target.media_type}
            return target.get(path[1]) or None
        if path[0] == "labels":
            return filters.in_map(path[1:], image.labels)
        if path[0] == "annotations":
            return filters.in_map(path[1:], image.target.annotations)
        return None

    return field
