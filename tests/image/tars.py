"""Tar archives for tests, made by Python's own tarfile so that they owe nothing to the code they test."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

TIME = 1_600_000_000
KINDS = {
    "file": tarfile.REGTYPE,
    "directory": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "character": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
}


class Tar:
    """An archive being written: one method a kind of entry, then `bytes()`."""

    def __init__(self, kind: int = tarfile.PAX_FORMAT) -> None:
        self._buffer = io.BytesIO()
        self._archive = tarfile.open(fileobj=self._buffer, mode="w", format=kind)

    def add(self, name: str, kind: str = "file", data: bytes = b"", **fields: Any) -> Tar:
        """Add an entry; fields: attributes of tarfile.TarInfo."""
        info = tarfile.TarInfo(name)
        info.type = KINDS[kind]
        info.mode = 0o755 if kind == "directory" else 0o644
        info.mtime = TIME
        info.size = len(data)
        for field, value in fields.items():
            setattr(info, field, value)
        self._archive.addfile(info, io.BytesIO(data))
        return self

    def directory(self, name: str, **fields: Any) -> Tar:
        """Add a directory."""
        return self.add(name, "directory", **fields)

    def symlink(self, name: str, target: str, **fields: Any) -> Tar:
        """Add a symbolic link."""
        return self.add(name, "symlink", linkname=target, **fields)

    def hardlink(self, name: str, target: str, **fields: Any) -> Tar:
        """Add a hard link."""
        return self.add(name, "hardlink", linkname=target, **fields)

    def bytes(self) -> bytes:
        """The finished archive."""
        self._archive.close()
        return self._buffer.getvalue()


def tree(root: Path, *, times: bool = True) -> dict[str, tuple[Any, ...]]:
    """Everything below a directory: type, mode, owner, size or target, contents, links, attributes."""
    found = {}
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            content: Any = None
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                content = Path(path).read_bytes()
            attributes = {key: os.getxattr(path, key, follow_symlinks=False) for key in _names(path)}
            found[os.path.relpath(path, root)] = (
                oct(status.st_mode),
                status.st_uid,
                status.st_gid,
                status.st_rdev,
                status.st_mtime_ns if times else 0,
                status.st_nlink if files and name in files else 0,
                content,
                attributes,
            )
    return found


def _names(path: str) -> list[str]:
    return [name for name in os.listxattr(path, follow_symlinks=False) if name != "security.selinux"]
