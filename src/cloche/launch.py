"""What the launcher has Python execute: it calls a command's entry point, whose modules it finds quickly.

    python -I -S -X utf8 THIS PACKAGES MODULE FLAGS PROGRAM ARGUMENT...

The launcher names this file's compiled form, where that is of today: Python then loads no compiler, which
takes time and a third of a megabyte (native/launcher.c).

A command loads about a hundred modules of ours. Python's finder looks for each under half a dozen names
and through four layers of paths, which together takes longer than executing what it finds. The one here
knows that they are all below one directory and compiled beside their sources. Whatever it does not
find there in that state, such as a source that was changed, is left to Python's own.

`make install` also compiles them as `python -OO` would, and without columns: docstrings, and the tables
for carets in tracebacks, are an eighth of what a command has in memory. Those it takes first.
"""

from __future__ import annotations

import gc
import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import NoReturn
else:
    ModuleSpec = type(sys.__spec__)

_PACKAGE = "cloche"
SEARCHES, LOCALE = "s", "l"
"""FLAGS: packages may lie where only `site` knows; LC_ALL is not the user's, but the launcher's."""
_HEADER_SIZE = 16
# The version of the byte code, which any compiled module begins with; then zeros: checked by time and size.
_VERSION_AND_FLAGS = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER + bytes(4)
_SUFFIXES = (f".{sys.implementation.cache_tag}.opt-2.pyc", f".{sys.implementation.cache_tag}.pyc")
# What a module is read into at once. A larger buffer the C library would map and unmap each time,
# which takes longer than the import; a module that does not fit is left to Python's own finder.
_BUFFER_BYTES = 1 << 16


class Finder:
    """A finder and loader of the import system, for one package.

    place: the directory that the package is in.
    """

    def __init__(self, place: str) -> None:
        self._place = place + "/"
        self._found: dict[str, bytes] = {}

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The module of this name where it is ours and compiled as its source is now."""
        if not name.startswith(_PACKAGE):
            return None
        stem = self._place + name.replace(".", "/")
        try:
            return self._look_at(name, stem, is_package=False) or self._look_at(name, stem, is_package=True)
        except OSError:
            return None

    def _look_at(self, name: str, stem: str, *, is_package: bool) -> ModuleSpec | None:
        directory, _, leaf = (stem + "/__init__" if is_package else stem).rpartition("/")
        source = f"{directory}/{leaf}.py"
        try:
            status = posix.stat(source)
        except FileNotFoundError:
            return None
        when = int(status.st_mtime) & 0xFFFFFFFF
        state = when.to_bytes(4, "little") + (status.st_size & 0xFFFFFFFF).to_bytes(4, "little")
        for suffix in _SUFFIXES:
            cached = f"{directory}/__pycache__/{leaf}{suffix}"
            compiled = _content(cached)
            if compiled[:_HEADER_SIZE] == _VERSION_AND_FLAGS + state and len(compiled) < _BUFFER_BYTES:
                break
        else:
            return None
        self._found[name] = compiled
        spec = ModuleSpec(name, self, origin=source, is_package=is_package)  # type: ignore[arg-type]  # has its methods
        spec.cached = cached
        spec.has_location = True
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(directory)
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """Python's own kind of module will do."""

    def exec_module(self, module: ModuleType) -> None:
        """Run what was found."""
        compiled = memoryview(self._found.pop(module.__name__))
        exec(marshal.loads(compiled[_HEADER_SIZE:]), module.__dict__)  # noqa: S102 - that is importing


def _content(path: str) -> bytes:
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return posix.read(descriptor, _BUFFER_BYTES)
    finally:
        posix.close(descriptor)


class Further:
    """A finder of what no other finds, which asks `site` where else packages may lie.

    Outside a virtual environment those that Cloche needs can be in any of its places. It is asked only
    once an import has failed, so that the usual command starts without it.
    """

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The module of this name in one of those places."""
        if path is not None or cls not in sys.meta_path:
            return None
        sys.meta_path.remove(cls)
        import site

        site.main()
        from importlib.machinery import PathFinder

        return PathFinder.find_spec(name)


def quicken(place: str) -> None:
    """Put the finder in front of Python's. place: the directory that the package is in."""
    sys.meta_path.insert(0, Finder(place))


def main() -> NoReturn:
    """Carry out the command that the launcher was called as."""
    # It would run a dozen times while modules are imported, to find nothing: a tenth of the time that
    # they take. It still runs in commands that go on for long.
    gc.set_threshold(100_000)
    place, module, flags = sys.argv[1:4]
    del sys.argv[:4]
    if LOCALE in flags:
        del posix.environ[b"LC_ALL"]
        posix.unsetenv("LC_ALL")
    sys.path.append(place)
    quicken(place)
    if SEARCHES in flags:
        sys.meta_path.append(Further)
    status = __import__(module, fromlist=["main"]).main() or 0
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream:
                stream.flush()
    except OSError:
        status = status or 1
    # Python's orderly end takes 2 ms; all that was left to do is done.
    posix._exit(status)


if __name__ == "__main__":
    main()
