"""Whole trees copied with everything that makes a file what it is."""

from __future__ import annotations

import errno
import os
import stat
from fcntl import ioctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_FICLONE = 0x40049409
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_CHUNK_BYTES = 1 << 26
_CANNOT = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.ENOTTY, errno.EPERM)


def copy_tree(source: str, target: str) -> None:
    """Copy what is below one directory into another, which is empty, and its own attributes too.

    Keeps hard links, holes, symlinks, devices, sockets and fifos, owners, modes, xattrs and times
    to the nanosecond; shares blocks where the filesystem can. The source must not change meanwhile.
    Raises OSError (ENAMETOOLONG where it nests deeper than some hundred directories); what was
    copied so far is the caller's to remove.
    """
    original = os.open(source, _DIRECTORY)
    try:
        copy = os.open(target, _DIRECTORY)
        try:
            _Copier(copy).directory(original, copy, "")
        except RecursionError:
            raise OSError(errno.ENAMETOOLONG, "directories nest too deep to be copied", source) from None
        finally:
            os.close(copy)
    finally:
        os.close(original)


class _Copier:
    def __init__(self, top: int) -> None:
        self._top = top
        self._links: dict[tuple[int, int], str] = {}
        self._can_clone = True

    def directory(self, original: int, copy: int, path: str) -> None:
        """Copy what is in a directory, then its attributes. path: from the top, for hard links."""
        status = os.fstat(original)  # before reading it, which is an access
        with os.scandir(original) as entries:
            for entry in entries:
                self._entry(original, copy, entry.name, f"{path}{entry.name}")
        _attributes_of_open(status, original, copy)

    def _entry(self, original: int, copy: int, name: str, path: str) -> None:
        status = os.stat(name, dir_fd=original, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            os.mkdir(name, 0o700, dir_fd=copy)
            self._enter(original, copy, name, path)
            return
        if status.st_nlink > 1:
            first = self._links.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                os.link(first, name, src_dir_fd=self._top, dst_dir_fd=copy, follow_symlinks=False)
                return
        if kind == stat.S_IFREG:
            self._file(original, copy, name, status)
            return
        if kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=original), name, dir_fd=copy)
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=copy)
        _attributes_of_special(status, original, copy, name)

    def _enter(self, original: int, copy: int, name: str, path: str) -> None:
        inner = os.open(name, _DIRECTORY, dir_fd=original)
        try:
            made = os.open(name, _DIRECTORY, dir_fd=copy)
            try:
                self.directory(inner, made, f"{path}/")
            finally:
                os.close(made)
        finally:
            os.close(inner)

    def _file(self, original: int, copy: int, name: str, status: os.stat_result) -> None:
        source = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=original)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            target = os.open(name, flags, 0o600, dir_fd=copy)
            try:
                if status.st_size:
                    self._data(source, target, status.st_size)
                _attributes_of_open(status, source, target)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _data(self, source: int, target: int, size: int) -> None:
        if self._can_clone:
            try:
                ioctl(target, _FICLONE, source)
                return
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                self._can_clone = False
        os.ftruncate(target, size)
        for start, end in _extents(source, size):
            _copy_range(source, target, start, end)


def _extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file has data and no holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        try:
            copied = os.copy_file_range(source, target, min(end - start, _CHUNK_BYTES), start, start)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            data = os.pread(source, min(end - start, 1 << 20), start)
            copied = os.pwrite(target, data, start)
        if copied == 0:
            raise OSError(errno.EIO, "a file became shorter while it was copied")
        start += copied


def _attributes_of_open(status: os.stat_result, original: int, copy: int) -> None:
    # The owner first: changing it drops the set-id bits and file capabilities.
    os.fchown(copy, status.st_uid, status.st_gid)
    os.fchmod(copy, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(original):
        os.setxattr(copy, name, os.getxattr(original, name))
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))


def _attributes_of_special(status: os.stat_result, original: int, copy: int, name: str) -> None:
    os.chown(name, status.st_uid, status.st_gid, dir_fd=copy, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=copy)
    source, target = f"/proc/self/fd/{original}/{name}", f"/proc/self/fd/{copy}/{name}"
    for key in os.listxattr(source, follow_symlinks=False):
        os.setxattr(target, key, os.getxattr(source, key, follow_symlinks=False), follow_symlinks=False)
    os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=copy, follow_symlinks=False)
