"""Waiting for a file system: one whose server does not answer, or a disk."""

from __future__ import annotations

import os
import shlex

from cloche.engine.stuck.findings import Wait, named
from cloche.kernel import mountinfo, threads
from cloche.kernel.call_numbers import descriptor_place, path_place
from cloche.kernel.open_files import descriptors, opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.kernel.mountinfo import MountInfo
    from cloche.kernel.threads import Thread

_FUSE = ("fuse_", "request_wait_answer")
_NETWORK = ("nfs", "rpc_", "cifs_", "smb2_", "smb_", "ceph_", "v9fs_", "p9_client", "afs_")
_NETWORK_TYPES = ("nfs", "cifs", "smb3", "ceph", "9p", "afs")
_CONNECTIONS = "/sys/fs/fuse/connections"
_DISK = ("io_schedule", "blk_", "submit_bio", "jbd2_", "folio_wait", "wait_on_page", "balance_dirty_pages")


def explain(thread: Thread) -> Wait | None:
    """Which mount a thread waits for; None for one that waits for no file system."""
    if thread.is_in(*_FUSE):
        return _fuse(thread)
    if thread.is_in(*_NETWORK):
        return _network(thread)
    if thread.state == "D" and thread.is_in(*_DISK):
        mount = _mount(thread, ())
        where = f" ({mount.source}, mounted at {mount.point})" if mount else ""
        return Wait(f"a disk to read or write{where}")
    return None


def _fuse(thread: Thread) -> Wait:
    mount = _mount(thread, ("fuse",))
    if mount is None:
        return Wait("a FUSE file system whose server does not answer")
    kind = mount.type.partition(".")[2] or mount.source
    minor = mount.device.partition(":")[2]
    remedy = _abort(mount, minor)
    return Wait(f"the FUSE mount {mount.point} ({kind}), which does not answer", _server(minor), remedy)


def _abort(mount: MountInfo, minor: str) -> str:
    """The command, to be run here, that ends all waiting for a FUSE connection."""
    abort = f"echo 1 > {_CONNECTIONS}/{minor}/abort"
    if os.path.exists(f"{_CONNECTIONS}/{minor}"):
        return abort
    if point := _seen_here(mount):
        return f"umount --force --lazy {shlex.quote(point)}"
    return f"mount -t fusectl fusectl {_CONNECTIONS} && {abort}"


def _seen_here(mount: MountInfo) -> str:
    """Where the same file system is mounted for us; empty where it is not."""
    return next((one.point for one in mountinfo.mounts() if one.device == mount.device), "")


def _server(minor: str) -> str:
    """Who serves a FUSE connection: the process with its /dev/fuse, if the kernel tells which."""
    candidates = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            for one in descriptors(int(entry)):
                if one.target == "/dev/fuse":
                    connection = one.notes.get("fuse_connection")
                    if connection in (None, minor):
                        candidates.append((connection is None, int(entry)))
    certain = {pid for unsure, pid in candidates if not unsure}
    pids = sorted(certain or {pid for _, pid in candidates})
    words = ", ".join(named(pid) for pid in pids)
    return words if certain or len(pids) == 1 else f"one of {words}" if words else "its server has ended"


def _network(thread: Thread) -> Wait:
    mount = _mount(thread, _NETWORK_TYPES)
    if mount is None:
        return Wait("a network file system whose server does not answer")
    if point := _seen_here(mount):
        remedy = f"umount --force --lazy {shlex.quote(point)}"
    else:
        # The container's own umount, which may be busybox's.
        remedy = f"nsenter --target {thread.pid} --mount umount -f -l {shlex.quote(mount.point)}"
    return Wait(f"the {mount.type} mount {mount.point}, whose server does not answer", mount.source, remedy)


def _mount(thread: Thread, types: tuple[str, ...]) -> MountInfo | None:
    """The mount that a thread's system call is about; the only one of those types where that is not known."""
    try:
        mounts = mountinfo.mounts(thread.pid)
    except (OSError, ValueError):
        return None
    found = _by_descriptor(thread, mounts) or _by_path(thread, mounts)
    if found is not None and (not types or found.type.startswith(types)):
        return found
    fitting = [mount for mount in mounts if types and mount.type.startswith(types)]
    return fitting[0] if len(fitting) == 1 else None


def _by_descriptor(thread: Thread, mounts: list[MountInfo]) -> MountInfo | None:
    place = descriptor_place(thread.call)
    one = opened(thread.pid, thread.argument(place)) if place is not None else None
    return next((mount for mount in mounts if one and mount.id == one.mount), None)


def _by_path(thread: Thread, mounts: list[MountInfo]) -> MountInfo | None:
    """The mount that a path argument leads into; links on the way are not followed."""
    place = path_place(thread.call)
    if place is None or place >= len(thread.arguments):
        return None
    path = threads.text_at(thread.pid, thread.arguments[place])
    if not path.startswith("/"):
        path = os.path.join(_directory(thread, place), path)
    path = os.path.normpath(path)
    above = [mount for mount in mounts if f"{path}/".startswith(mount.point.rstrip("/") + "/")]
    # The longest; of several mounts on one place the last is seen.
    longest = max((len(mount.point) for mount in above), default=0)
    return next((mount for mount in reversed(above) if len(mount.point) == longest), None)


def _directory(thread: Thread, place: int) -> str:
    """What a relative path counts from: the descriptor before it, or the working directory."""
    if place == 1 and (one := opened(thread.pid, thread.argument(0))) is not None:
        return one.target
    try:
        return os.readlink(f"/proc/{thread.pid}/cwd")
    except OSError:
        return "/"
