"""Copy a directory tree by descriptors, so that links inside cannot lead out of it."""

from __future__ import annotations

import os
import stat

_COPIED = (stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO)
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


def copy_directory(source: int, target: int) -> None:
    """Copy a directory's content, owner, mode, extended attributes and times into an empty one.

    source, target: descriptors that can be read, borrowed. Nothing is followed or resolved by path,
    so whoever changes the source meanwhile changes the copy only. Links between files stay links;
    sockets are left out, and so are device nodes: a copy that the host makes must not bring into a
    file system of the host's what the source's own would not have let work.
    """
    links: dict[tuple[int, int], str] = {}
    _copy_children(source, target, "", links, target)
    _copy_facts(os.fstat(source), source, target)


def _copy_children(
    source: int, target: int, prefix: str, links: dict[tuple[int, int], str], top: int
) -> None:
    with os.scandir(source) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        place = f"{prefix}{name}"
        identity = (status.st_dev, status.st_ino)
        if stat.S_IFMT(status.st_mode) not in _COPIED:
            continue
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if identity in links:
                os.link(links[identity], name, src_dir_fd=top, dst_dir_fd=target, follow_symlinks=False)
                continue
            links[identity] = place
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            inner = os.open(name, _READ_DIRECTORY, dir_fd=source)
            try:
                copied = os.open(name, _READ_DIRECTORY, dir_fd=target)
                try:
                    _copy_children(inner, copied, f"{place}/", links, top)
                    _copy_facts(status, inner, copied)
                finally:
                    os.close(copied)
            finally:
                os.close(inner)
        else:
            _copy_leaf(name, status, source, target)


def _copy_leaf(name: str, status: os.stat_result, source: int, target: int) -> None:
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    elif stat.S_ISREG(status.st_mode):
        _copy_file(name, status, source, target)
    else:
        os.mkfifo(name, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)


def _copy_file(name: str, status: os.stat_result, source: int, target: int) -> None:
    # What was a file a moment ago can be a fifo by now, which must not make us wait for its writer.
    reading = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=source)
    try:
        if not os.path.samestat(status, os.fstat(reading)):
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        writing = os.open(name, flags, 0o600, dir_fd=target)
        try:
            while os.sendfile(writing, reading, None, 1 << 20):
                pass
            _copy_facts(status, reading, writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _copy_facts(status: os.stat_result, source: int, target: int) -> None:
    """Owner first: chown takes set-id bits away."""
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source):
        if not name.startswith("trusted.overlay."):
            try:
                os.setxattr(target, name, os.getxattr(source, name))
            except OSError:
                continue
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
