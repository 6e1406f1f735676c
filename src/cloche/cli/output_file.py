"""A file that is there when it is whole, and not before."""

from __future__ import annotations

import os

from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO


class OutputFile:
    """A `with` block that gives a binary file; its name appears at the end of a block that went well.

    A failed block leaves neither a torn file, nor touches the one that had the name before. What
    is no regular file (a device, a pipe) is written to as it is.
    """

    def __init__(self, path: str) -> None:
        """Raises InvalidArgument where there is no such directory."""
        directory = os.path.dirname(path) or "."
        if not os.path.isdir(directory):
            raise InvalidArgument(f"{directory}: no such directory to write a file in")
        self._path = path
        self._direct = os.path.exists(path) and not os.path.isfile(path)
        self._partial = path if self._direct else f"{path}.{os.getpid()}.partial"
        self._file: BinaryIO

    def __enter__(self) -> BinaryIO:
        self._file = open(self._partial, "wb")
        return self._file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if self._direct:
            return
        if kind is None:
            os.replace(self._partial, self._path)
        else:
            os.unlink(self._partial)
