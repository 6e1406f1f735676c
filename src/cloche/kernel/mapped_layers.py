"""Root file systems whose files have other owners: each layer is an idmapped mount of its own.

The kernel idmaps no overlay as a whole (ovl has no FS_ALLOW_IDMAP), but takes idmapped mounts as its
lower layers, detached ones from Linux 6.15 on. What is written goes to the upper directory with the
ids that the writers really have, so that one is not mapped.
"""

from __future__ import annotations

import os

from cloche.kernel.mount_options import MOUNT_ATTR_IDMAP, MS_PRIVATE
from cloche.kernel.overlay import split_layers
from cloche.kernel.syscalls import AT_FDCWD, OPEN_TREE_CLONE, mount_setattr, open_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

WORD = "userns="
"""Option of a mount: the path of the user namespace whose ids the files are to appear with."""


def separated(options: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """The options without that word, and the path that it gave; "" for none."""
    paths = [word.removeprefix(WORD) for word in options if word.startswith(WORD)]
    return tuple(word for word in options if not word.startswith(WORD)), paths[-1] if paths else ""


def map_mount(mount: int, users: str) -> None:
    """Have the files of a detached mount appear with a user namespace's ids. Raises OSError."""
    namespace = os.open(users, os.O_RDONLY | os.O_CLOEXEC)
    try:
        mount_setattr(mount, "", add=MOUNT_ATTR_IDMAP, user_namespace=namespace)
    finally:
        os.close(namespace)


class MappedLayers:
    """The options of an overlay with its lower layers mapped, for as long as a `with` block lasts."""

    def __init__(self, options: Sequence[str], users: str) -> None:
        self._options = options
        self._users = users
        self._layers: list[int] = []

    def __enter__(self) -> tuple[str, ...]:
        try:
            return tuple(self._mapped(word) for word in self._options)
        except BaseException:
            self.__exit__()
            raise

    def _mapped(self, word: str) -> str:
        key, _, value = word.partition("=")
        if key != "lowerdir":
            return word
        return "lowerdir=" + ":".join(self._layer(path) for path in split_layers(value))

    def _layer(self, path: str) -> str:
        tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE)
        self._layers.append(tree)
        mount_setattr(tree, "", propagation=MS_PRIVATE)
        map_mount(tree, self._users)
        return f"/proc/self/fd/{tree}"

    def __exit__(self, *_: object) -> None:
        for layer in self._layers:
            os.close(layer)
        self._layers.clear()
