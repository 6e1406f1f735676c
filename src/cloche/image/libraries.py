"""Finding shared libraries on this machine the way the dynamic loader would (ld.so(8)).

Order: the path itself where a name has a slash; DT_RPATH of the file and of those that loaded it,
where there is no DT_RUNPATH; DT_RUNPATH of the file; the loader's cache; the default directories.
Only libraries of the same class and machine count. musl's loader has a list of its own.
"""

from __future__ import annotations

import os
from struct import error as struct_error
from struct import unpack_from

from cloche.kernel import elf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cloche.kernel.elf import Elf

CACHE = "/etc/ld.so.cache"
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_CACHE_LIMIT_BYTES = 64 << 20
_TRIPLETS = {62: "x86_64-linux-gnu", 183: "aarch64-linux-gnu", 3: "i386-linux-gnu", 40: "arm-linux-gnueabihf"}
_MUSL_DIRECTORIES = ("/lib", "/usr/local/lib", "/usr/lib")


def open_elf(path: str) -> Elf | None:
    """Read the ELF file at a path; None when it is none or cannot be opened."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return elf.read(fd)
    finally:
        os.close(fd)


class Finder:
    """Looks libraries up; remembers what it read.

    cached: those that only the loader's cache knew, so that an image needs the cache as well.
    """

    def __init__(self) -> None:
        self._cache: dict[bytes, list[str]] | None = None
        self._kinds: dict[str, tuple[int, int, int] | None] = {}
        self.cached: set[str] = set()

    def find(self, name: bytes, loaders: tuple[tuple[str, Elf], ...], *, musl: bool = False) -> str | None:
        """The path of a needed library, or None.

        loaders: (path, headers) of the file that needs it, and then of those that led to it.
        musl: whether the program's interpreter is musl's.
        """
        path, needer = loaders[0]
        for candidate in self._candidates(os.fsdecode(name), path, needer, loaders, musl=musl):
            if self._kind(candidate) == needer.kind:
                return candidate
        return None

    def _kind(self, path: str) -> tuple[int, int, int] | None:
        if path not in self._kinds:
            found = open_elf(path)
            self._kinds[path] = found.kind if found else None
        return self._kinds[path]

    def _candidates(
        self, name: str, path: str, needer: Elf, loaders: tuple[tuple[str, Elf], ...], *, musl: bool
    ) -> Iterator[str]:
        if "/" in name:
            yield _expanded(name, path, needer)
            return
        if not needer.runpath:
            for loader, headers in loaders:
                yield from _in(name, headers.rpath, loader, headers)
        yield from _in(name, needer.runpath, path, needer)
        if musl:
            yield from (f"{directory}/{name}" for directory in _musl_directories())
            return
        defaults = list(_default_directories(needer))
        for candidate in self._from_cache(os.fsencode(name)):
            if self._kind(candidate) == needer.kind:
                if os.path.dirname(candidate) not in defaults:
                    self.cached.add(candidate)
                yield candidate
        yield from (f"{directory}/{name}" for directory in defaults)

    def _from_cache(self, name: bytes) -> list[str]:
        if self._cache is None:
            self._cache = read_cache(CACHE)
        return self._cache.get(name, [])


def read_cache(path: str) -> dict[bytes, list[str]]:
    """Paths by library name from ld.so.cache; empty when there is none that can be read.

    Entries for special hardware are left out: an image is to run on other machines too.
    """
    found: dict[bytes, list[str]] = {}
    try:
        with open(path, "rb") as file:
            data = file.read(_CACHE_LIMIT_BYTES)
    except OSError:
        return found
    start = data.find(_CACHE_MAGIC)
    if start < 0:
        return found
    data = data[start:]
    try:
        count = unpack_from("=I", data, 20)[0]
        for at in range(48, 48 + 24 * count, 24):
            _, key, value, _, hardware = unpack_from("=iIIIQ", data, at)
            if not hardware:
                name = data[key : data.index(b"\0", key)]
                found.setdefault(name, []).append(os.fsdecode(data[value : data.index(b"\0", value)]))
    except (struct_error, ValueError):
        return found
    return found


def _in(name: str, directories: bytes, path: str, headers: Elf) -> Iterator[str]:
    for directory in os.fsdecode(directories).split(":"):
        if directory:
            yield f"{_expanded(directory, path, headers)}/{name}"


def _expanded(text: str, path: str, headers: Elf) -> str:
    """$ORIGIN and $LIB replaced: where the file is, and what the machine calls its lib directory."""
    if "$" not in text:
        return text
    library = f"lib/{_TRIPLETS.get(headers.kind[2], '')}".rstrip("/")
    for word, value in (("ORIGIN", os.path.dirname(os.path.realpath(path))), ("LIB", library)):
        text = text.replace(f"${{{word}}}", value).replace(f"${word}", value)
    return os.path.normpath(text)


def _default_directories(headers: Elf) -> Iterable[str]:
    """What the C library was built to search; which distribution built it decides."""
    width = "lib64" if headers.kind[0] == 2 else "lib"
    triplet = _TRIPLETS.get(headers.kind[2])
    names = ([f"lib/{triplet}"] if triplet else []) + [width, "lib"]
    return (f"{prefix}/{name}" for name in names for prefix in ("", "/usr"))


def _musl_directories() -> Iterable[str]:
    architecture = os.uname().machine
    try:
        with open(f"/etc/ld-musl-{architecture}.path") as file:
            return [line for line in file.read().replace(":", "\n").split("\n") if line]
    except OSError:
        return _MUSL_DIRECTORIES
