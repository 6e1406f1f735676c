"""The files that a set of the machine's own programs needs to run elsewhere.

Symbolic links are kept as they are on the machine (/bin -> usr/bin, sh -> dash, libc.so.6 -> …), so
that every path by which a program may be called or a library be found leads to the same file.
"""

from __future__ import annotations

import os
import stat

from cloche.errors import InvalidArgument, NotFound
from cloche.image.libraries import CACHE, Finder, open_elf
from cloche.kernel.elf import Elf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MERGED = ("/bin", "/sbin", "/lib", "/lib64")
# Loaded by name at run time, so no header says that they are needed: name lookups before glibc
# 2.34, and the unwinder that pthread_exit needs.
_LOADED_BY_NAME = (b"libnss_files.so.2", b"libnss_dns.so.2", b"libgcc_s.so.1")
_LINKS_LIMIT = 40


class Gathered:
    """Paths without their leading slash: links to targets, files to where their bytes are, directories."""

    def __init__(self) -> None:
        self.links: dict[str, str] = {}
        self.files: dict[str, os.stat_result] = {}
        self.directories: set[str] = set()
        self.programs: list[str] = []
        self.missing: list[str] = []


class Gatherer:
    """Collects programs with everything they load. Raises NotFound for a program that is not there."""

    def __init__(self) -> None:
        self.found = Gathered()
        self._finder = Finder()
        self._done: set[tuple[str, bool]] = set()

    def gather(self, programs: Sequence[str]) -> Gathered:
        """programs: paths, or names to be looked up in the usual directories; directories go in whole."""
        for directory in _MERGED:
            if os.path.islink(directory):
                self.found.directories.add(self._follow(directory).lstrip("/"))
        for program in programs:
            self._program(program)
        if self._finder.cached:
            self._add(CACHE)
        return self.found

    def _program(self, program: str) -> None:
        path = located(program)
        if os.path.isdir(path):
            self._whole_directory(path)
            return
        self.found.programs.append(path)
        self._executable(path)

    def _whole_directory(self, directory: str) -> None:
        top = self._follow(directory)
        self.found.directories.add(top.lstrip("/"))
        for where, directories, files in os.walk(top):
            for name in directories:
                path = f"{where}/{name}"
                if os.path.islink(path):
                    self.found.links[path.lstrip("/")] = os.readlink(path)
                else:
                    self.found.directories.add(path.lstrip("/"))
            for name in files:
                path = f"{where}/{name}"
                if os.path.exists(path):
                    self._executable(path)
                else:
                    self.found.links[path.lstrip("/")] = os.readlink(path)

    def _executable(self, path: str) -> None:
        """Add a program, its interpreter if it is a script, and its libraries."""
        real = self._add(path)
        if real is None:
            return
        headers = open_elf(real)
        if headers is None:
            self._script(real)
            return
        musl = b"ld-musl" in headers.interpreter
        if headers.interpreter:
            self._add(os.fsdecode(headers.interpreter))
        self._libraries(((real, headers),), musl=musl)

    def _libraries(self, loaders: tuple[tuple[str, Elf], ...], *, musl: bool) -> None:
        """Add what the first of the loaders needs, and what that needs in turn."""
        path, headers = loaders[0]
        if (path, musl) in self._done:
            return
        self._done.add((path, musl))
        names = headers.needed
        if not musl and b"libc.so.6" in names:
            names += _LOADED_BY_NAME
        for name in names:
            library = self._finder.find(name, loaders, musl=musl)
            if library is None:
                if name not in _LOADED_BY_NAME:
                    self.found.missing.append(
                        f"{path}: needs {os.fsdecode(name)}, which is not on this machine"
                    )
                continue
            real = self._add(library)
            if real is not None and (loaded := open_elf(real)) is not None:
                self._libraries(((library, loaded), *loaders), musl=musl)

    def _script(self, path: str) -> None:
        """Follow a `#!` line; /usr/bin/env also brings the program it is asked for."""
        with open(path, "rb") as file:
            line = file.read(256).partition(b"\n")[0]
        if not line.startswith(b"#!"):
            return
        words = os.fsdecode(line[2:]).split()
        if not words:
            return
        self._executable(self._needed_by(path, words[0]))
        if os.path.basename(words[0]) == "env":
            names = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
            if names:
                self._executable(self._needed_by(path, names[0]))

    def _needed_by(self, script: str, program: str) -> str:
        try:
            return located(program)
        except NotFound:
            raise NotFound(f"{script}: its interpreter {program} is not on this machine") from None

    def _add(self, path: str) -> str | None:
        """Add a file with the links on the way to it; its real path, or None when it was there."""
        real = self._follow(path)
        name = real.lstrip("/")
        if name in self.found.files:
            return None
        found = os.stat(real)
        if not stat.S_ISREG(found.st_mode):
            raise InvalidArgument(f"{path}: is not a file that can be copied into an image")
        self.found.files[name] = found
        return real

    def _follow(self, path: str) -> str:
        """Where a path really leads; every link on the way becomes part of the image."""
        todo = [part for part in reversed(path.split("/")) if part]
        real = ""
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                real = real.rpartition("/")[0]
                continue
            if part == ".":
                continue
            here = f"{real}/{part}"
            if not os.path.islink(here):
                real = here
                continue
            links += 1
            if links > _LINKS_LIMIT:
                raise InvalidArgument(f"{path}: too many symbolic links on the way")
            target = os.readlink(here)
            self.found.links[here.lstrip("/")] = target
            if target.startswith("/"):
                real = ""
            todo.extend(word for word in reversed(target.split("/")) if word)
        return real


def located(program: str) -> str:
    """The absolute path of a program given by path or by name. Raises NotFound."""
    if "/" in program:
        path = os.path.abspath(program)
        if not os.path.exists(path):
            raise NotFound(f"program {program}: there is no such file on this machine")
        return path
    for directory in SEARCH_PATH.split(":"):
        path = f"{directory}/{program}"
        if program and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise NotFound(f"program {program!r}: not found in {SEARCH_PATH}")
