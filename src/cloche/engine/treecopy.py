"""Fill a new volume with what the image has at its place."""

from __future__ import annotations

import os

from cloche.kernel.paths import open_in_root
from cloche.kernel.treecopy import copy_directory


def copy_contents(root: int, path: str, destination: str) -> None:
    """Copy what a directory inside a container holds, and its own owner, mode and times.

    root: the container's root directory; path: resolved in it; nothing happens where it is no
    directory. destination: an existing, empty directory of the host.
    """
    try:
        source = open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        target = os.open(destination, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            copy_directory(source, target)
        finally:
            os.close(target)
    finally:
        os.close(source)
