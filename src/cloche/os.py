"""What short commands use of `os`: the same names and meanings, without the millisecond that it costs.

`os` builds the abstract collections, an environment that can be changed, and much more; all that a
container's start needs of it are system calls, which are `posix`'s own, and a few functions of paths.
Modules that such a command loads have `from cloche import os`, and all others `import os`: where one
does, the other is worth nothing any more. tests/test_os.py holds the two against each other.
"""

from __future__ import annotations

import posix
import sys
from posix import *  # noqa: F403 - which of them are used is the affair of those who use them
from posix import _exit as _exit

SEEK_SET = 0
_DIRECTORY = 0o040000
_KIND = 0o170000


def getenv(name: str, default: str = "") -> str:
    """A variable of the environment, as it is now in a program that can have changed it."""
    if "os" in sys.modules:
        return sys.modules["os"].environ.get(name, default)  # type: ignore[no-any-return]  # strings, as there
    value = posix.environ.get(fsencode(name))
    return default if value is None else fsdecode(value)


def fsencode(name: str | bytes) -> bytes:
    """The bytes of a file's name."""
    return name.encode(sys.getfilesystemencoding(), "surrogateescape") if isinstance(name, str) else name


def fsdecode(name: str | bytes) -> str:
    """A file's name of its bytes."""
    return name.decode(sys.getfilesystemencoding(), "surrogateescape") if isinstance(name, bytes) else name


def makedirs(name: str, mode: int = 0o777, *, exist_ok: bool = False) -> None:
    """Make a directory and those above it; the mode is the last one's."""
    above = path.dirname(name)
    if above and not path.exists(above):
        makedirs(above, exist_ok=True)
    try:
        posix.mkdir(name, mode)
    except OSError:
        if not (exist_ok and path.isdir(name)):
            raise


class path:  # noqa: N801 - as in os
    """`os.path`, for text."""

    @staticmethod
    def join(first: str, *more: str) -> str:
        """One path of several; what is absolute replaces all before it."""
        for part in more:
            if part.startswith("/"):
                first = part
            else:
                first = f"{first}{part}" if not first or first.endswith("/") else f"{first}/{part}"
        return first

    @staticmethod
    def split(name: str) -> tuple[str, str]:
        """All before the last component, and that."""
        cut = name.rfind("/") + 1
        return name[:cut].rstrip("/") or name[:cut], name[cut:]

    @staticmethod
    def dirname(name: str) -> str:
        """All before the last component."""
        return path.split(name)[0]

    @staticmethod
    def basename(name: str) -> str:
        """The last component."""
        return path.split(name)[1]

    @staticmethod
    def normpath(name: str) -> str:
        """A path without empty components, `.` and what `..` takes back."""
        # POSIX leaves to the system what exactly two slashes mean.
        root = ("//" if name.startswith("//") and not name.startswith("///") else "/") * name.startswith("/")
        parts: list[str] = []
        for part in name.split("/"):
            if part == ".." and (parts or root) and parts[-1:] != [".."]:
                del parts[-1:]
            elif part not in ("", "."):
                parts.append(part)
        return root + "/".join(parts) or "."

    @staticmethod
    def abspath(name: str) -> str:
        """The same from the root on."""
        return path.normpath(path.join(posix.getcwd(), name))

    @staticmethod
    def exists(name: str) -> bool:
        """Whether something is there, or was reached."""
        try:
            posix.stat(name)
        except (OSError, ValueError):
            return False
        return True

    @staticmethod
    def isdir(name: str) -> bool:
        """Whether a directory is there."""
        try:
            return posix.stat(name).st_mode & _KIND == _DIRECTORY
        except (OSError, ValueError):
            return False

    @staticmethod
    def samestat(one: posix.stat_result, other: posix.stat_result) -> bool:
        """Whether two are of the same file."""
        return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
