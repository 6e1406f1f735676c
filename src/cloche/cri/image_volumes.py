"""Images mounted into containers: views of their layers, seen read-only."""

from __future__ import annotations

import os
import shutil

from cloche.cri.container_mounts import OPTIONS
from cloche.errors import InvalidArgument
from cloche.kernel.mounts import assemble
from cloche.kernel.paths import open_in_root
from cloche.kernel.syscalls import AT_FDCWD, MNT_DETACH, move_mount, umount2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.cri.host import Host
    from cloche.cri.images import Images
    from cloche.cri.inventory import Container
    from cloche.spec.config import Mount as SpecMount


def mount(host: Host, images: Images, container: Container, directory: str) -> tuple[SpecMount, ...]:
    """Mount every image that a container is to have; what its config.json says of them.

    directory: for the mount points. Raises NotFound for an image that is not here, InvalidArgument for
    a sub-path that it does not have.
    """
    found: list[SpecMount] = []
    keys: list[str] = []
    context = host.context
    snapshotter = context.snapshotter(host.settings.snapshotter)
    for number, each in enumerate(container.config.mounts):
        if each.image is None:
            continue
        if each.host_path:
            raise InvalidArgument(
                f"mounts: {each.container_path}: an image and a host_path cannot both be given"
            )
        image = images.need(each.image.image)
        key = f"{container.id}-image-{number}"
        keys.append(key)
        container.kept.image_volumes = tuple(keys)
        with context.metadata.write(durable=False) as tx:
            snapshotter.view(tx, key, image.found.chain_id or None)
        with context.metadata.read() as tx:
            layers = snapshotter.mounts(tx, key)
        place = f"{directory}/images/{number}"
        os.makedirs(place)
        tree = assemble(layers)
        try:
            source = _below(tree, each.image_sub_path, place)
            move_mount(tree, AT_FDCWD, place)
        finally:
            os.close(tree)
        words = ["rbind", "rprivate", "ro", *_options(each.mount_options)]
        found.append({"destination": each.container_path, "type": "bind", "source": source, "options": words})
    return tuple(found)


def _options(words: Sequence[str]) -> Sequence[str]:
    for word in words:
        if word not in OPTIONS:
            raise InvalidArgument(f"mounts: unknown option {word[:80]!r}")
    return words


def _below(tree: int, path: str, place: str) -> str:
    """Where a sub-path will be; it must be in the image without a link leading out of it."""
    if not path:
        return place
    if path.startswith("/") or ".." in path.split("/"):
        raise InvalidArgument(f"image_sub_path {path[:200]!r}: must be relative, without ..")
    try:
        found = open_in_root(tree, f"/{path}", os.O_PATH)
    except OSError as error:
        raise InvalidArgument(f"image_sub_path {path[:200]!r}: {error.strerror}") from None
    try:
        inside = os.readlink(f"/proc/self/fd/{found}")
    finally:
        os.close(found)
    return os.path.normpath(f"{place}/{inside.lstrip('/')}")


def unmount(directory: str) -> None:
    """Take all of them away. Can be repeated."""
    images = f"{directory}/images"
    try:
        names = os.listdir(images)
    except FileNotFoundError:
        return
    for name in names:
        try:
            umount2(f"{images}/{name}", MNT_DETACH)
        except OSError:
            continue  # it never was mounted
    shutil.rmtree(images, ignore_errors=True)
