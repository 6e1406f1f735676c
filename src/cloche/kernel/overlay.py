"""An overlay's directories, given to the kernel within its limits.

fsconfig(2) takes strings of at most 255 bytes. So each layer is a parameter of its own where the
kernel has `lowerdir+` (Linux 6.7), and a path that is too long, or has a character that some
kernel versions unescape and others do not, is named through a descriptor: /proc/self/fd/N.
Older kernels get one `lowerdir` string of such short names, or for many layers mount(2)'s page.
"""

from __future__ import annotations

import errno
import os

from cloche.kernel.mount_options import MS_PRIVATE
from cloche.kernel.syscalls import (
    AT_FDCWD,
    MNT_DETACH,
    OPEN_TREE_CLONE,
    fsconfig_create,
    fsconfig_flag,
    fsconfig_string,
    fsopen,
    mount,
    mount_setattr,
    open_tree,
    umount2,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STRING_LIMIT_BYTES = 255
_DIRECTORIES = ("lowerdir", "upperdir", "workdir", "lowerdir+", "datadir+")


def split_layers(value: str) -> list[str]:
    """The directories of a `lowerdir=` value, top first; a backslash keeps a colon in a name."""
    layers = [""]
    characters = iter(value)
    for character in characters:
        if character == ":":
            layers.append("")
        else:
            layers[-1] += next(characters, "\\") if character == "\\" else character
    return layers


class _Names:
    """Names for directories that fit an option, and the descriptors some of them stand for."""

    def __init__(self) -> None:
        self._descriptors: list[int] = []

    def __enter__(self) -> _Names:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)

    def fitting(self, path: str) -> str:
        """The path itself, or its descriptor's name where the path would not arrive as it is."""
        if len(os.fsencode(path)) <= STRING_LIMIT_BYTES and not any(c in path for c in ":\\,"):
            return path
        return self.short(path)

    def short(self, path: str) -> str:
        """The name of a descriptor of the directory: at most 24 bytes, without odd characters."""
        descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._descriptors.append(descriptor)
        return f"/proc/self/fd/{descriptor}"


_appends: list[bool] = []


def appends() -> bool:
    """Whether this kernel takes `lowerdir+`; asked once.

    Kernels before 6.5 collect any option unseen and 6.5 and 6.6 call this one unknown: only a
    kernel that knows it looks for the directory, and does not find it.
    """
    if not _appends:
        context = fsopen("overlay")
        try:
            fsconfig_string(context, "lowerdir+", "/proc/self/no-such-layer")
            _appends.append(False)
        except OSError as error:
            _appends.append(error.errno == errno.ENOENT)
        finally:
            os.close(context)
    return _appends[0]


def create(context: int, data: Iterable[str], *, appending: bool | None = None) -> None:
    """Give an overlay's options to its file system context and make the superblock.

    data: `lowerdir=…`, `upperdir=…`, `workdir=…` and the overlay's other options, as mount(8)
    takes them; appending: one `lowerdir+` a layer, by default where the kernel knows it.
    Raises OSError naming the option that was refused; E2BIG when an old kernel cannot take so
    many layers in one option.
    """
    # Kernels before 6.5 look at the paths only when the superblock is made: the names must live on.
    with _Names() as names:
        for word in data:
            key, has_value, value = word.partition("=")
            if key == "lowerdir" and has_value:
                layers = split_layers(value)
                _lower(context, names, layers, appending=appends() if appending is None else appending)
            elif key in _DIRECTORIES and has_value:
                _directory(context, key, value, names)
            elif has_value:
                fsconfig_string(context, key, value)
            else:
                fsconfig_flag(context, key)
        fsconfig_create(context)


def mount_by_page(data: Iterable[str]) -> int:
    """A detached overlay by mount(2), whose options may fill a page: more than 200 layers.

    For kernels that have no other way. mount(2) needs a place, so for a moment the overlay is seen in
    a new directory that nobody else may enter.
    """
    place = f"/tmp/.overlay-{os.urandom(8).hex()}"
    with _Names() as names:
        words = []
        for word in data:
            key, _, value = word.partition("=")
            if key == "lowerdir":
                word = "lowerdir=" + ":".join(names.short(layer) for layer in split_layers(value))
            elif key in _DIRECTORIES:
                word = f"{key}={names.fitting(value)}"
            words.append(word)
        os.mkdir(place, 0o700)
        try:
            mount("overlay", place, "overlay", 0, ",".join(words))
            try:
                detached = open_tree(AT_FDCWD, place, OPEN_TREE_CLONE)
            finally:
                umount2(place, MNT_DETACH)
        finally:
            os.rmdir(place)
    # It was a member of the peer group of the place where it was.
    mount_setattr(detached, "", propagation=MS_PRIVATE)
    return detached


def _directory(context: int, key: str, path: str, names: _Names) -> None:
    try:
        fsconfig_string(context, key, names.fitting(path))
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{key}={path}") from None


def _lower(context: int, names: _Names, layers: Sequence[str], *, appending: bool) -> None:
    if appending:
        for layer in layers:
            _directory(context, "lowerdir+", layer, names)
        return
    value = ":".join(names.fitting(layer) for layer in layers)
    if len(os.fsencode(value)) > STRING_LIMIT_BYTES:
        value = ":".join(names.short(layer) for layer in layers)
    if len(value) > STRING_LIMIT_BYTES:
        raise OSError(errno.E2BIG, f"{len(layers)} layers are more than one option can name", "lowerdir")
    fsconfig_string(context, "lowerdir", value)
