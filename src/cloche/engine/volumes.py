"""Volumes: directories of their own that outlive a container, below ROOT/volumes."""

from __future__ import annotations

import os

from cloche.engine.mounts import Place, bind_source
from cloche.engine.names import new_id
from cloche.engine.options import MountOption
from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloche.engine.context import Context
    from cloche.engine.kept import Kept
    from cloche.spec.image_config import ImageConfig


def wanted(image: ImageConfig, options_mounts: tuple[MountOption, ...]) -> tuple[MountOption, ...]:
    """The user's mounts, and an anonymous volume for each of the image's that they do not cover.

    A mount hides an anonymous volume at its place; raises InvalidArgument for other pairs at one.
    """
    chosen: dict[str, MountOption] = {}
    for option in options_mounts:
        other = chosen.get(option.target)
        if other is None or _is_anonymous(other):
            chosen[option.target] = option
        elif not _is_anonymous(option):
            raise InvalidArgument(f"duplicate mount point: {option.target}")
    for path in image.volumes:
        target = os.path.normpath("/" + path).replace("//", "/")
        if target != "/" and target not in chosen:
            chosen[target] = MountOption("volume", target)
    return tuple(chosen.values())


def _is_anonymous(option: MountOption) -> bool:
    return option.kind == "volume" and not option.source


class Volumes:
    """The volumes of one container that is being created; `undo` removes those that it made."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.names: dict[str, str] = {}
        self.anonymous: list[str] = []
        self.fresh: list[MountOption] = []
        self._made: list[str] = []

    def prepare(self, mounts: tuple[MountOption, ...]) -> None:
        """Make what is missing. Raises NotFound for a bind source that must exist."""
        for option in mounts:
            if option.kind == "bind":
                bind_source(option)
            elif option.kind == "volume":
                name = option.source or new_id()
                self.names[option.target] = name
                if not option.source:
                    self.anonymous.append(name)
                if self._make(name) and option.copy_up:
                    self.fresh.append(option)

    def _make(self, name: str) -> bool:
        """Make a volume; whether it is empty, so that the image's files may be copied into it."""
        path = self._context.volume(name)
        try:
            os.makedirs(path, 0o755)
        except FileExistsError:
            return not os.listdir(path)
        self._made.append(name)
        return True

    def copy_up(self, root: int) -> None:
        """Give new volumes what the image has at their places, with its owner and mode.

        root: a descriptor of the container's root directory.
        """
        for option in self.fresh:
            fill(root, option.target, self._context.volume(self.names[option.target]))

    def undo(self) -> None:
        """Remove the volumes that were made."""
        for name in self._made:
            remove(self._context, name)


def fill(root: int, path: str, destination: str) -> None:
    """Copy what a directory inside a container holds, and its own owner, mode and times.

    root: the container's root directory; path: resolved in it; nothing happens where it is no
    directory. destination: an existing, empty directory of the host.
    """
    from cloche.kernel.paths import open_in_root
    from cloche.kernel.treecopy import copy_directory

    try:
        source = open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        target = os.open(destination, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            copy_directory(source, target, exact=False)
        finally:
            os.close(target)
    finally:
        os.close(source)


def places(context: Context, kept: Kept) -> Iterator[Place]:
    """The mounts of a container with the host paths they come from, for a start."""
    for option in wanted(kept.image_config, kept.options.mounts):
        if option.kind == "volume":
            path = context.volume(kept.volumes[option.target])
            os.makedirs(path, 0o755, exist_ok=True)
            yield Place(option, path)
        else:
            yield Place(option, bind_source(option) if option.kind == "bind" else "")


def remove(context: Context, name: str) -> None:
    """Remove a volume and its files; one that is gone does not matter."""
    context.discard(f"{context.root}/volumes/{name}")
