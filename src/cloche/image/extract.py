"""Tar entries become files below a directory descriptor; nothing outside it can be reached.

The fast path of a small file is four system calls: open, write, utimensat, close. Everything that
is rare (names that exist already, owners, special modes, attributes) costs only where it occurs.
Directories get their owner, mode, attributes and times at the end, when nothing below them changes
any more; so a set-group-id bit or a default ACL of the archive never touches what is made here.
"""

from __future__ import annotations

import errno
import os
import stat

from cloche.errors import (
    ClocheError,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
)
from cloche.image import tarentry
from cloche.image.layertree import WHITEOUT_PREFIX, Place, Tree, clean, remove
from cloche.image.tarentry import Entry, shown
from cloche.image.whiteouts import NoWhiteouts, Whiteouts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.image.tarstream import Reader

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PERMISSIONS = 0o777
_SPECIAL = 0o7000
_NOBODY = -1
# Overlayfs keeps its own marks in these; an archive must not be able to redirect a directory.
_OVERLAY_ATTRIBUTES = (b"trusted.overlay.", b"user.overlay.")
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM))
_REFUSED = frozenset((errno.EPERM, errno.EACCES, errno.EROFS))
_REPLACED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_WRONG = frozenset(
    (errno.ENAMETOOLONG, errno.EINVAL, errno.EFBIG, errno.E2BIG, errno.ENOENT, errno.ELOOP, errno.EILSEQ,
     errno.ERANGE, errno.ENOTDIR, errno.EMLINK, errno.EOVERFLOW)
)  # fmt: skip


def as_domain_error(error: OSError, place: str) -> ClocheError:
    """What a failed system call means for who gave the archive. place: archive and entry."""
    text = f"{place}: {error.strerror or error}"
    if error.errno in _FULL:
        return ResourceExhausted(text)
    if error.errno in _REFUSED:
        return PermissionDenied(text)
    if error.errno in _WRONG:
        return InvalidArgument(text)
    return FailedPrecondition(text)


class Extractor:
    """Extracts one archive into the directory `root` (borrowed).

    whiteouts: what `.wh.` names mean; archive: what is extracted, for messages.
    fresh: the directory was empty and is only ours, so that new files have the owner and (with
    exact_modes, when the calling thread's umask is 0) the mode that they were created with.
    """

    def __init__(
        self,
        root: int,
        whiteouts: Whiteouts | None = None,
        *,
        archive: str = "tar archive",
        fresh: bool = False,
        exact_modes: bool = False,
    ) -> None:
        self._archive = archive
        self._whiteouts = whiteouts or NoWhiteouts()
        self._marks_whiteouts = self._whiteouts.prefix
        self._tree = Tree(root, made=self._made, covered=self._whiteouts.cover)
        self._whiteouts.attach(self._tree, self._remove)
        self._exact_modes = exact_modes
        self._uid, self._gid = _own_ids(root) if fresh else (_NOBODY, _NOBODY)
        self._track = self._whiteouts.placed
        self._pending: dict[bytes, Entry] = {}
        self.implied: dict[bytes, None] = {}
        self.count = 0
        self._reader: Reader
        self._kinds: dict[bytes, Callable[[Entry, Place, bytes], None]] = {
            tarentry.FILE: self._file,
            tarentry.DIRECTORY: self._directory,
            tarentry.SYMLINK: self._symlink,
            tarentry.HARDLINK: self._hardlink,
            tarentry.CHARACTER: self._node,
            tarentry.BLOCK_DEVICE: self._node,
            tarentry.FIFO: self._node,
        }

    def extract(self, reader: Reader) -> None:
        """Extract every entry. Raises errors of cloche.errors that name archive and entry."""
        self._reader = reader
        entry: Entry | None = None
        try:
            while (entry := reader.next()) is not None:
                self.count += 1
                self._entry(entry)
            self._finish_directories()
        except OSError as error:
            where = f"{self._archive}: {shown(entry.name)}" if entry else self._archive
            raise as_domain_error(error, where) from None
        except InvalidArgument as error:
            if str(error).startswith(self._archive):
                raise
            raise InvalidArgument(f"{self._archive}: {error}") from None
        finally:
            self._tree.close()

    def _entry(self, entry: Entry) -> None:
        name = entry.name
        if b".." in name:
            name = clean(name)
        head, _, base = name.rpartition(b"/")
        if not base or base == b".":
            head, _, base = clean(name).rpartition(b"/")
            if not base:
                self._root(entry)
                return
        place = self._tree.known(head)
        if place is None:
            place = self._place(head)
        if self._marks_whiteouts and base.startswith(WHITEOUT_PREFIX):
            self._whiteouts.apply(place, base)
            return
        self._kinds[entry.kind](entry, place, base)
        if self._track is not None:
            self._track(place.child(base))

    def _place(self, head: bytes) -> Place:
        """The directory that an entry goes into, when it is not one that was just in use."""
        if self._marks_whiteouts and (head.startswith(WHITEOUT_PREFIX) or b"/" + WHITEOUT_PREFIX in head):
            raise InvalidArgument(f"{shown(head)}: a whiteout has nothing below it")
        self._tree.trim()
        return self._tree.directory(head)

    def _made(self, parent: Place, base: bytes) -> None:
        """Note a directory that the archive did not list: its metadata is that of the layer below."""
        path = parent.child(base)
        self._pending.pop(path, None)  # of a directory that was removed since
        self.implied[path] = None
        if self._track is not None:
            self._track(path)

    def _root(self, entry: Entry) -> None:
        """The archive's entry for its own root."""
        if entry.kind != tarentry.DIRECTORY:
            raise InvalidArgument(f"{shown(entry.name)}: is the root, but not a directory")
        self._pending[b""] = entry

    def _file(self, entry: Entry, place: Place, base: bytes) -> None:
        mode = entry.mode
        try:
            fd = os.open(base, _CREATE, mode & _PERMISSIONS, dir_fd=place.fd)
        except FileExistsError:
            self._remove(place, base)
            fd = os.open(base, _CREATE, mode & _PERMISSIONS, dir_fd=self._again(place).fd)
        try:
            if entry.size:
                self._fill(fd, entry)
            self._describe(fd, entry, has_mode=self._exact_modes and not mode & _SPECIAL)
        finally:
            os.close(fd)

    def _describe(self, fd: int, entry: Entry, *, has_mode: bool = False) -> None:
        """Give what is open its owner, mode, attributes and times. has_mode: it was made with it."""
        if entry.uid != self._uid or entry.gid != self._gid:
            os.fchown(fd, entry.uid, entry.gid)
        if not has_mode:
            os.fchmod(fd, entry.mode)
        if entry.xattrs:
            _set_attributes(fd, entry.xattrs)
        mtime = entry.mtime_ns
        os.utime(fd, ns=(mtime if entry.atime_ns is None else entry.atime_ns, mtime))

    def _fill(self, fd: int, entry: Entry) -> None:
        if entry.sparse is not None:
            self._fill_sparse(fd, entry)
            return
        take = self._reader.take
        while piece := take():
            written = os.write(fd, piece)
            if written != len(piece):
                _write_all(fd, piece[written:])

    def _fill_sparse(self, fd: int, entry: Entry) -> None:
        """Write only the pieces that the archive holds; the rest stays a hole."""
        os.ftruncate(fd, entry.size)
        take = self._reader.take
        piece = memoryview(b"")
        for offset, length in entry.sparse or ():
            os.lseek(fd, offset, os.SEEK_SET)
            while length:
                piece = piece or take()
                part = piece[:length]
                _write_all(fd, part)
                length -= len(part)
                piece = piece[len(part) :]

    def _directory(self, entry: Entry, place: Place, base: bytes) -> None:
        path = place.child(base)
        try:
            os.mkdir(base, 0o700, dir_fd=place.fd)
        except FileExistsError:
            found = os.stat(base, dir_fd=place.fd, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                self._remove(place, base)
                place = self._again(place)
                os.mkdir(base, 0o700, dir_fd=place.fd)
                self._whiteouts.replaced(place, base, found)
        self.implied.pop(path, None)
        self._pending[path] = entry

    def _symlink(self, entry: Entry, place: Place, base: bytes) -> None:
        if not entry.link:
            raise InvalidArgument(f"{shown(entry.name)}: a symbolic link without a target")
        try:
            os.symlink(entry.link, base, dir_fd=place.fd)
        except FileExistsError:
            self._remove(place, base)
            place = self._again(place)
            os.symlink(entry.link, base, dir_fd=place.fd)
        self._finish_node(entry, place, base)

    def _node(self, entry: Entry, place: Place, base: bytes) -> None:
        kind = stat.S_IFIFO
        device = 0
        if entry.kind != tarentry.FIFO:
            if entry.major >= 1 << 12 or entry.minor >= 1 << 20:
                number = f"{entry.major}:{entry.minor}"
                raise InvalidArgument(f"{shown(entry.name)}: {number} is not a device number of Linux")
            kind = stat.S_IFCHR if entry.kind == tarentry.CHARACTER else stat.S_IFBLK
            device = os.makedev(entry.major, entry.minor)
        try:
            os.mknod(base, entry.mode & _PERMISSIONS | kind, device, dir_fd=place.fd)
        except FileExistsError:
            self._remove(place, base)
            place = self._again(place)
            os.mknod(base, entry.mode & _PERMISSIONS | kind, device, dir_fd=place.fd)
        self._finish_node(entry, place, base)

    def _finish_node(self, entry: Entry, place: Place, base: bytes) -> None:
        """Owner, mode, attributes and times of what cannot be opened to set them."""
        if entry.uid != self._uid or entry.gid != self._gid:
            os.chown(base, entry.uid, entry.gid, dir_fd=place.fd, follow_symlinks=False)
        if entry.kind != tarentry.SYMLINK and (entry.mode & _SPECIAL or not self._exact_modes):
            os.chmod(base, entry.mode, dir_fd=place.fd)
        if entry.xattrs:
            _set_attributes(b"/proc/self/fd/%d/%s" % (place.fd, base), entry.xattrs)
        times = (entry.mtime_ns if entry.atime_ns is None else entry.atime_ns, entry.mtime_ns)
        os.utime(base, ns=times, dir_fd=place.fd, follow_symlinks=False)

    def _hardlink(self, entry: Entry, place: Place, base: bytes) -> None:
        head, _, target = clean(entry.link).rpartition(b"/")
        try:
            source = self._tree.directory(head, make=False)
            self._link(source, target, place, base)
        except (FileNotFoundError, NotADirectoryError):
            reason = f"a hard link to {shown(entry.link)}, which is not in the layer"
            raise InvalidArgument(f"{shown(entry.name)}: {reason}") from None

    def _link(self, source: Place, target: bytes, place: Place, base: bytes) -> None:
        found = os.stat(target or b".", dir_fd=source.fd, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            raise InvalidArgument(f"{shown(place.child(base))}: a hard link to a directory")
        try:
            os.link(target, base, src_dir_fd=source.fd, dst_dir_fd=place.fd, follow_symlinks=False)
        except FileExistsError:
            if os.path.samestat(found, os.stat(base, dir_fd=place.fd, follow_symlinks=False)):
                return
            self._remove(place, base)
            source, place = self._again(source), self._again(place)
            os.link(target, base, src_dir_fd=source.fd, dst_dir_fd=place.fd, follow_symlinks=False)

    def _again(self, place: Place) -> Place:
        """A place after something was removed, which may have closed its descriptor."""
        return self._tree.directory(place.path)

    def _remove(self, place: Place, base: bytes) -> None:
        """Remove what has a name, with all below it.

        Descriptors that were reached through it are dropped too: use _again() afterwards. What was
        to happen to directories later is not looked for here: _made and _finish see to it.
        """
        found = os.stat(base, dir_fd=place.fd, follow_symlinks=False)
        remove(place.fd, base)
        if not stat.S_ISREG(found.st_mode):
            self._tree.forget()

    def _finish_directories(self) -> None:
        """Owner, mode, attributes and times of all directories, the deepest first.

        In that order a directory that its owner may not enter does not hide those below it.
        """
        if b"" not in self._pending:
            self.implied[b""] = None
        for path, entry in reversed(self._pending.items()):
            try:
                fd = self._tree.open_readable(path)
            except OSError as error:
                if error.errno in _REPLACED:
                    continue  # something later in the archive took its place
                raise
            try:
                self._describe(fd, entry)
            finally:
                os.close(fd)


def _own_ids(root: int) -> tuple[int, int]:
    """Who owns the files that this process makes in `root`; nobody when the directory decides."""
    found = os.fstat(root)
    uid, gid = os.geteuid(), os.getegid()
    if found.st_mode & stat.S_ISGID or found.st_gid != gid:
        return _NOBODY, _NOBODY
    return uid, gid


def _write_all(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _set_attributes(target: int | bytes, attributes: dict[bytes, bytes]) -> None:
    """Set extended attributes; those the filesystem does not have are left out, as containerd does."""
    for name, value in attributes.items():
        if name.startswith(_OVERLAY_ATTRIBUTES):
            continue
        try:
            os.setxattr(target, name, value, follow_symlinks=False) if isinstance(target, bytes) else (
                os.setxattr(target, name, value)
            )
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
