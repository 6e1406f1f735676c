"""A guest's first file system, made of the host's own files at the places where the host has them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

_SKIPPED = {"ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test", "tests", "tkinter"}


class Initramfs:
    """Writes a cpio archive in the kernel's `newc` format; directories above a file come by themselves."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self._number = 0
        self._names: set[str] = set()

    def directory(self, path: str, mode: int = 0o755) -> None:
        """A directory, with those above it."""
        self._entry(path, stat.S_IFDIR | mode, b"")

    def file(self, path: str, data: bytes, mode: int = 0o644, *, modified: int = 0) -> None:
        """A file of these bytes. modified: seconds since 1970; Python's cached code depends on it."""
        self._entry(path, stat.S_IFREG | mode, data, modified)

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        self._entry(path, stat.S_IFLNK | 0o777, target.encode())

    def copy(self, source: Path, path: str = "") -> None:
        """One of the host's files or links; what a link leads to comes along."""
        where = path or str(source)
        if source.is_symlink():
            self.link(where, os.readlink(source))
            self.copy(Path(os.path.normpath(source.parent / os.readlink(source))))
        else:
            about = source.stat()
            self.file(where, source.read_bytes(), stat.S_IMODE(about.st_mode), modified=int(about.st_mtime))

    def tree(self, source: Path, *, skipped: Iterable[str] = ()) -> None:
        """All files of a directory but those below a skipped name, and what other Pythons compiled."""
        omitted = {*skipped}
        for directory, folders, names in os.walk(source):
            folders[:] = [name for name in folders if name not in omitted]
            for name in names:
                other = name.endswith(".pyc") and f".{sys.implementation.cache_tag}." not in name
                if not other and not name.endswith(".a"):
                    self.copy(Path(directory, name))

    def library(self, source: Path) -> None:
        """A directory of Python packages, without their tests and what draws on a screen."""
        self.tree(source, skipped=_SKIPPED)
        self.needed(path for path in source.rglob("*.so") if "tkinter" not in path.name)

    def program(self, path: str | Path, name: str = "") -> None:
        """A program with the shared libraries it needs."""
        self.copy(Path(path), name)
        self.needed([Path(path)])

    def needed(self, objects: Iterable[Path]) -> None:
        """The shared libraries that programs or libraries need, at the places the host finds them."""
        names = [str(path) for path in objects]
        done = subprocess.run(["ldd", *names], capture_output=True, text=True) if names else None
        for line in done.stdout.splitlines() if done else ():
            for word in line.split():
                if word.startswith("/") and not word.endswith(":"):
                    self.copy(Path(word))

    def close(self) -> None:
        """End the archive."""
        self._write("TRAILER!!!", 0, b"")

    def _entry(self, path: str, mode: int, data: bytes, modified: int = 0) -> None:
        name = path.strip("/")
        if name in self._names:
            return
        self._names.add(name)
        above = os.path.dirname(name)
        if above:
            self.directory(above)
        self._write(name, mode, data, modified)

    def _write(self, name: str, mode: int, data: bytes, modified: int = 0) -> None:
        """One entry: thirteen numbers of eight digits, the name, the data, each to a multiple of four."""
        self._number += 1
        encoded = os.fsencode(name) + b"\0"
        fields = (self._number, mode, 0, 0, 1, modified, len(data), 0, 0, 0, 0, len(encoded), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
        for part in (head, data):
            self._output.write(part)
            self._output.write(bytes(-len(part) % 4))
