"""Copy a directory tree by descriptors, so that links inside cannot lead out of it."""

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
# What was a file a moment ago can be a fifo by now, which must not make us wait for its writer.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_CONTENT = (stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO)
_CHUNK_BYTES = 1 << 26
_CANNOT = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.ENOTTY, errno.EPERM)


def copy_tree(source: str, target: str, *, exact: bool) -> None:
    """`copy_directory` between directories that are named by paths of ours."""
    original = os.open(source, _DIRECTORY)
    try:
        copy = os.open(target, _DIRECTORY)
        try:
            copy_directory(original, copy, exact=exact)
        finally:
            os.close(copy)
    finally:
        os.close(original)


def copy_directory(source: int, target: int, *, exact: bool) -> None:
    """Copy what is in a directory into another, which is empty, and its own attributes too.

    source, target: descriptors that can be read, borrowed. Keeps hard links, holes, symlinks and
    fifos, owners, modes, extended attributes and times to the nanosecond; shares blocks where the
    file system can. Nothing is followed or resolved by path, so whoever changes the source
    meanwhile changes the copy only.

    exact: for two places of one store: devices and sockets too, and every extended attribute or an
    error. Otherwise it is a container's files that get a place of the host's: without devices,
    since the copy must not bring into that file system what the source's own would not have let
    work, without overlayfs's marks, and without attributes that the target does not take.

    Raises OSError (ENAMETOOLONG where it nests deeper than some hundred directories); what was
    copied so far is the caller's to remove.
    """
    try:
        _Copier(target, exact=exact).directory(source, target, "")
    except RecursionError:
        raise OSError(errno.ENAMETOOLONG, "directories nest too deep to be copied") from None


class _Copier:
    def __init__(self, top: int, *, exact: bool) -> None:
        self._top = top
        self._exact = exact
        self._links: dict[tuple[int, int], str] = {}
        self._can_clone = True

    def directory(self, original: int, copy: int, path: str) -> None:
        """Copy what is in a directory, then its attributes. path: from the top, for hard links."""
        status = os.fstat(original)  # before reading it, which is an access
        for name in os.listdir(original):
            self._entry(original, copy, name, f"{path}{name}")
        self._attributes_of_open(status, original, copy)

    def _entry(self, original: int, copy: int, name: str, path: str) -> None:
        status = os.stat(name, dir_fd=original, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            os.mkdir(name, 0o700, dir_fd=copy)
            self._enter(original, copy, name, path)
            return
        if not self._exact and kind not in _CONTENT:
            return
        identity = status.st_dev, status.st_ino
        if identity in self._links:
            first = self._links[identity]
            os.link(first, name, src_dir_fd=self._top, dst_dir_fd=copy, follow_symlinks=False)
            return
        if kind == stat.S_IFREG:
            if not self._file(original, copy, name, status):
                return
        else:
            self._special(original, copy, name, status)
        if status.st_nlink > 1:
            self._links[identity] = path

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

    def _file(self, original: int, copy: int, name: str, status: os.stat_result) -> bool:
        """Copy a file; False where something else has taken its place meanwhile."""
        source = os.open(name, _READ, dir_fd=original)
        try:
            if not os.path.samestat(status, os.fstat(source)):
                return False
            target = os.open(name, _CREATE, 0o600, dir_fd=copy)
            try:
                if status.st_size:
                    self._data(source, target, status.st_size)
                self._attributes_of_open(status, source, target)
            finally:
                os.close(target)
        finally:
            os.close(source)
        return True

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

    def _special(self, original: int, copy: int, name: str, status: os.stat_result) -> None:
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=original), name, dir_fd=copy)
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=copy)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=copy, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=copy)
        self._extended(f"/proc/self/fd/{original}/{name}", f"/proc/self/fd/{copy}/{name}")
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=copy, follow_symlinks=False)

    def _attributes_of_open(self, status: os.stat_result, original: int, copy: int) -> None:
        # The owner first: changing it drops the set-id bits and file capabilities.
        os.fchown(copy, status.st_uid, status.st_gid)
        os.fchmod(copy, stat.S_IMODE(status.st_mode))
        self._extended(original, copy)
        os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _extended(self, original: int | str, copy: int | str) -> None:
        """The extended attributes of something open, or of what is named and not followed."""
        follow = isinstance(original, int)
        for name in os.listxattr(original, follow_symlinks=follow):
            if not self._exact and name.startswith("trusted.overlay."):
                continue
            value = os.getxattr(original, name, follow_symlinks=follow)
            try:
                os.setxattr(copy, name, value, follow_symlinks=follow)
            except OSError:
                if self._exact:
                    raise


def _extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file has data and no holes, up to a size."""
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            raise
        end = min(size, os.lseek(descriptor, start, os.SEEK_HOLE))
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
