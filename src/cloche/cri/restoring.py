"""Containers that begin where another was: made of a checkpoint's archive, which is named for an image.

config.dump       the image that is below it, as containerd and CRI-O write it
rootfs-diff.tar   what had been written over that          checkpoint/   criu's images
"""

from __future__ import annotations

import os
import shutil
import tarfile
from contextlib import contextmanager

from cloche.errors import InvalidArgument
from cloche.image.apply import apply_to
from cloche.spec.document import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO, Any

    from cloche.spec.mount import Mount

_CONFIG, _SPEC, _CHANGES, IMAGES = "config.dump", "spec.dump", "rootfs-diff.tar", "checkpoint"
_CONFIG_LIMIT_BYTES = 4 << 20
_NAMES = ("rootfsImageRef", "rootfsImageName", "rootfsImage")


def is_archive(image: str) -> bool:
    """Whether a container's image names an archive on this machine."""
    return os.path.isabs(image)


def images_of(archive: str) -> list[str]:
    """The names of the image below it, the most exact first. Raises InvalidArgument."""
    document = _document(archive, _CONFIG)
    names = [each for each in map(document.get, _NAMES) if isinstance(each, str) and each]
    if not names:
        raise InvalidArgument(f"{archive}: {_CONFIG} names no image")
    return names


def arguments_of(archive: str) -> Any:
    """The command line of its process, as its config.json had it. Raises InvalidArgument."""
    process = _document(archive, _SPEC).get("process")
    return process.get("args") if isinstance(process, dict) else None


def _document(archive: str, wanted: str) -> dict[str, Any]:
    with _opened(archive) as files:
        for name, file in files:
            if name == wanted:
                document = loads(file.read(_CONFIG_LIMIT_BYTES), f"{archive}: {name}")
                return document if isinstance(document, dict) else {}
    raise InvalidArgument(f"{archive}: is no checkpoint's archive: there is no {wanted} in it")


def unpack(archive: str, folder: str, mounts: Sequence[Mount]) -> None:
    """Put criu's images into a new folder, and what was written into a container's own layer.

    Raises InvalidArgument, OSError.
    """
    os.makedirs(folder, 0o700)
    with _opened(archive) as files:
        for name, file in files:
            place, _, base = name.rpartition("/")
            if name == _CHANGES:
                apply_to(mounts, file, name=f"{archive}: {_CHANGES}")
            elif place == IMAGES and base not in ("", ".", ".."):
                with open(f"{folder}/{base}", "xb") as copy:
                    shutil.copyfileobj(file, copy)


@contextmanager
def _opened(archive: str) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """The plain files of an archive, which may be compressed. Raises InvalidArgument, also inside."""
    try:
        with tarfile.open(archive, "r|*") as opened:
            yield _files(opened)
    except OSError as error:
        raise InvalidArgument(f"checkpoint {archive}: cannot be read: {error.strerror or error}") from None
    except (tarfile.TarError, EOFError) as error:
        raise InvalidArgument(f"checkpoint {archive}: is no archive: {error}") from None


def _files(opened: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    for member in opened:
        file = opened.extractfile(member) if member.isfile() else None
        if file is not None:
            yield os.path.normpath(member.name), file
