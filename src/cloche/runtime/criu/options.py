"""What can be asked of a checkpoint and of a restore."""

from __future__ import annotations

import os
import stat

from cloche.errors import FailedPrecondition, InvalidArgument
from cloche.runtime.criu.messages import CGROUP_MODES
from cloche.spec.record import Record

DESCRIPTORS = "descriptors.json"
"""In a checkpoint's folder: what standard streams were, as runc writes and reads it."""

_INVENTORY = "inventory.img"


class Imaging(Record):
    """What checkpoint and restore have in common.

    image_path: folder of the checkpoint, absolute. work_path: folder for logs and statistics, the
    image's own where empty. tcp_established, ext_unix_sk, shell_job, file_locks: allow open TCP
    connections, unix sockets that lead outside, a terminal that is not the container's, and locks on
    files. manage_cgroups_mode: soft, full, strict, ignore, or "" for criu's own choice. auto_dedup:
    give back room that later images make superfluous. lazy_pages: memory comes when it is touched.
    """

    image_path: str
    work_path: str = ""
    tcp_established: bool = False
    ext_unix_sk: bool = False
    shell_job: bool = False
    file_locks: bool = False
    manage_cgroups_mode: str = ""
    auto_dedup: bool = False
    lazy_pages: bool = False

    def cgroup_mode(self) -> int:
        """criu's number for the mode. Raises InvalidArgument."""
        try:
            return CGROUP_MODES[self.manage_cgroups_mode]
        except KeyError:
            raise InvalidArgument(
                f"invalid manage-cgroups-mode value {self.manage_cgroups_mode!r}: "
                "must be soft, full, strict or ignore"
            ) from None

    def fresh_log(self, name: str) -> str:
        """Where criu will write the log of that name; an earlier one is removed."""
        path = f"{self.work_path or self.image_path}/{name}"
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        return path


class CheckpointOptions(Imaging):
    """How to checkpoint.

    leave_running: the container goes on afterwards. pre_dump: only memory, so that a later
    checkpoint with this as its parent is quick; the container goes on. parent_path: an earlier
    pre-dump, relative to image_path. page_server: host and port that memory is sent to.
    tcp_skip_in_flight: leave out connections that are not yet accepted. link_remap: files that
    were removed while open get a name again.
    """

    leave_running: bool = False
    pre_dump: bool = False
    parent_path: str = ""
    page_server: tuple[str, int] | None = None
    tcp_skip_in_flight: bool = False
    link_remap: bool = False

    def prepare(self) -> None:
        """Check, and make the folders that are missing."""
        self.cgroup_mode()
        os.makedirs(self.image_path, 0o700, exist_ok=True)
        if os.path.isabs(self.parent_path):
            raise InvalidArgument("--parent-path must be relative: it counts from --image-path")
        parent = os.path.join(self.image_path, self.parent_path)
        if not os.path.isdir(parent):
            raise FailedPrecondition(f"invalid --parent-path: {parent}: must be the folder of a pre-dump")
        if self.work_path:
            os.makedirs(self.work_path, 0o700, exist_ok=True)


class RestoreOptions(Imaging):
    """How to restore.

    lsm_profile: TYPE:NAME of the security label that processes get instead of their old one.
    lsm_mount_context: the same for mounts.
    """

    lsm_profile: str = ""
    lsm_mount_context: str = ""

    def prepare(self) -> None:
        """Check that there is something to restore, and make the folder for logs."""
        self.cgroup_mode()
        for name in (_INVENTORY, DESCRIPTORS):
            if not os.path.exists(f"{self.image_path}/{name}"):
                raise FailedPrecondition(
                    f"--image-path {self.image_path}: holds no checkpoint to restore: {name} is missing"
                )
        if self.work_path:
            os.makedirs(self.work_path, 0o700, exist_ok=True)


class ImageFolders:
    """The folders of an image, open while criu works: it takes descriptors of its caller. A context manager.

    work: -1 where it is the images' own.
    """

    __slots__ = ("_owned", "images", "work")

    def __init__(self, options: Imaging) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        self._owned: os.stat_result | None = None
        self.images = os.open(options.image_path, flags)
        self.work = -1
        if options.work_path:
            try:
                self.work = os.open(options.work_path, flags)
            except OSError:
                os.close(self.images)
                raise

    def lend(self, gid: int) -> None:
        """Let a group find the images until the end: in a user namespace criu is nobody outside."""
        about = os.fstat(self.images)
        if not about.st_mode & stat.S_IXOTH:
            self._owned = about
            os.fchown(self.images, -1, gid)
            os.fchmod(self.images, stat.S_IMODE(about.st_mode) | stat.S_IXGRP)

    def __enter__(self) -> ImageFolders:
        return self

    def __exit__(self, *_: object) -> None:
        if self._owned:
            os.fchmod(self.images, stat.S_IMODE(self._owned.st_mode))
            os.fchown(self.images, -1, self._owned.st_gid)
        os.close(self.images)
        if self.work >= 0:
            os.close(self.work)
