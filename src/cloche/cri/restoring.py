"""Containers that begin where another was: made of a checkpoint's archive, which is named for an image.

config.dump       the image that is below it, as containerd and CRI-O write it
rootfs-diff.tar   what had been written over that          checkpoint/   criu's images
"""

from __future__ import annotations

import os
import shutil
import tarfile

from cloche.errors import InvalidArgument
from cloche.image.apply import apply_to
from cloche.spec.document import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

    from cloche.spec.mount import Mount

_CONFIG, _CHANGES, IMAGES = "config.dump", "rootfs-diff.tar", "checkpoint"
_CONFIG_LIMIT_BYTES = 4 << 20
_NAMES = ("rootfsImageRef", "rootfsImageName", "rootfsImage")


def is_archive(image: str) -> bool:
    """Whether a container's image names an archive on this machine."""
    return os.path.isabs(image)


def images_of(archive: str) -> list[str]:
    """The names of the image below it, the most exact first. Raises InvalidArgument."""
    for name, file in _files(archive):
        if name == _CONFIG:
            document = loads(file.read(_CONFIG_LIMIT_BYTES), f"{archive}: {_CONFIG}")
            found = [document.get(each) for each in _NAMES] if isinstance(document, dict) else []
            names = [each for each in found if isinstance(each, str) and each]
            if names:
                return names
            raise InvalidArgument(f"{archive}: {_CONFIG} names no image")
    raise InvalidArgument(f"{archive}: is no checkpoint's archive: there is no {_CONFIG} in it")


def unpack(archive: str, folder: str, mounts: Sequence[Mount]) -> None:
    """Put criu's images into a new folder, and what was written into a container's own layer.

    Raises InvalidArgument, OSError.
    """
    os.makedirs(folder, 0o700)
    for name, file in _files(archive):
        place, _, base = name.rpartition("/")
        if name == _CHANGES:
            apply_to(mounts, file, name=f"{archive}: {_CHANGES}")
        elif place == IMAGES and base not in ("", ".", ".."):
            with open(f"{folder}/{base}", "xb") as copy:
                shutil.copyfileobj(file, copy)


def _files(archive: str) -> Iterator[tuple[str, IO[bytes]]]:
    """The plain files of an archive, which may be compressed. Raises InvalidArgument."""
    try:
        with tarfile.open(archive, "r|*") as opened:
            for member in opened:
                file = opened.extractfile(member) if member.isfile() else None
                if file is not None:
                    yield os.path.normpath(member.name), file
    except OSError as error:
        raise InvalidArgument(f"checkpoint {archive}: cannot be read: {error.strerror or error}") from None
    except (tarfile.TarError, EOFError) as error:
        raise InvalidArgument(f"checkpoint {archive}: is no archive: {error}") from None
