"""Paths inside a directory that somebody else controls, opened so that they cannot lead out.

A container may replace any part of a path by a symbolic link at any moment. openat2(2) resolves a
path in one go as if the directory were the root. Where a kernel or a seccomp filter has no
openat2, every component is opened on its own, without following links, and links are read and
walked by hand: only descriptors are used, so nothing can be swapped between a check and a use.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat

from cloche.kernel.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

LINK_LIMIT = 40
_WALK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_missing: list[bool] = []


def open_in_root(root: int, path: str, flags: int = os.O_PATH, *, mode: int = 0) -> int:
    """Open a path as if the directory `root` were `/`; returns a close-on-exec descriptor.

    root: a directory's descriptor; path: absolute or relative, both from `root`; links and `..` stay inside.
    flags, mode: of open(2); O_CREAT makes the last component. O_NOFOLLOW: a link there is not followed.
    Raises OSError as open(2) does; ELOOP too where a kernel's magic link (/proc/PID/fd) is met.
    """
    if not _missing:
        for _ in range(16):
            try:
                return openat2(root, path, flags, mode=mode, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
            except OSError as error:
                # EAGAIN: something was renamed at the same time, so that ".." cannot be trusted.
                if error.errno == errno.EAGAIN:
                    continue
                if error.errno not in (errno.ENOSYS, errno.EPERM):
                    raise
                if error.errno == errno.ENOSYS:
                    _missing.append(True)
                break
    return walk_in_root(root, path, flags, mode=mode)


def walk_in_root(root: int, path: str, flags: int = os.O_PATH, *, mode: int = 0) -> int:
    """`open_in_root` without openat2(2): one component at a time."""
    with _Walk(root) as walk:
        return walk.open(path, flags, mode)


class _Walk:
    """The directories between the root and where we are, each held open."""

    def __init__(self, root: int) -> None:
        self._stack = [os.dup(root)]
        self._links = 0

    def __enter__(self) -> _Walk:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._stack:
            os.close(descriptor)

    def open(self, path: str, flags: int, mode: int) -> int:
        """Walk to the last component and open it."""
        todo = _components(path)
        must_be_directory = path.endswith(("/", "/."))
        while len(todo) > 1 or (todo and todo[0] == ".."):
            link = self._enter(todo.pop(0), path)
            if link is not None:
                todo = link + todo
        if not todo:
            return self._last(".", flags | os.O_DIRECTORY, mode)
        if must_be_directory:
            flags |= os.O_DIRECTORY
        target = None if flags & os.O_NOFOLLOW else self._link(todo[0], path)
        if target is not None:
            return self.open(target, flags, mode)
        return self._last(todo[0], flags | os.O_NOFOLLOW, mode)

    def _last(self, name: str, flags: int, mode: int) -> int:
        return os.open(name, flags | os.O_CLOEXEC, mode, dir_fd=self._stack[-1])

    def _enter(self, name: str, path: str) -> list[str] | None:
        """Go into a directory; for a link give back the components it stands for."""
        if name == "..":
            if len(self._stack) > 1:
                os.close(self._stack.pop())
            return None
        descriptor = os.open(name, _WALK, dir_fd=self._stack[-1])
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            self._stack.append(descriptor)
            return None
        try:
            if not stat.S_ISLNK(kind):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            return _components(self._follow(os.readlink("", dir_fd=descriptor), path))
        finally:
            os.close(descriptor)

    def _link(self, name: str, path: str) -> str | None:
        try:
            target = os.readlink(name, dir_fd=self._stack[-1])
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return None
            raise
        return self._follow(target, path)

    def _follow(self, target: str, path: str) -> str:
        self._links += 1
        if self._links > LINK_LIMIT:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            while len(self._stack) > 1:
                os.close(self._stack.pop())
        return target


def _components(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def join(root: str, path: str) -> str:
    """A path below `root` by its words alone: `..` cannot climb out, links are not looked at.

    Good for names and messages; whatever somebody else may have written to is for `open_in_root`.
    """
    inner = posixpath.normpath("/" + path).lstrip("/")
    return posixpath.join(root, inner) if inner else root


def make_directories_in_root(root: int, path: str, mode: int = 0o755) -> int:
    """Make a directory and those above it inside `root`; returns its descriptor (O_PATH).

    Existing ones, and links to directories inside, are gone through.
    """
    at = open_in_root(root, "/", os.O_PATH | os.O_DIRECTORY)
    done: list[str] = []
    try:
        for name in _components(path):
            done.append(name)
            place = "/".join(done)
            try:
                below = open_in_root(root, place, os.O_PATH | os.O_DIRECTORY)
            except FileNotFoundError:
                os.mkdir(name, mode, dir_fd=at)
                below = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = below
    except BaseException:
        os.close(at)
        raise
    return at
