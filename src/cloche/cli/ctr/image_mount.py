"""`ctr images mount` and `unmount`: an image's files at a place of this machine."""

from __future__ import annotations

import errno
import os
import time

from cloche.api.mounts import from_messages
from cloche.cli.ctr import leases
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.flags import LABEL, REGISTRY
from cloche.cli.ctr.image_content import Documents, get, platform_of
from cloche.cli.ctr.snapshot_mounts import activated
from cloche.cli.ctr.snapshots import used
from cloche.cli.ctr.tree import SNAPSHOTTER
from cloche.cli.ctr.unpack import unpack
from cloche.cli.output import line
from cloche.errors import AlreadyExists, ClocheError, FailedPrecondition
from cloche.wire.messages import snapshots as messages
from cloche.wire.messages.leases import LEASES, DeleteRequest
from cloche.wire.messages.snapshots import SNAPSHOTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.wire.messages.types import Mount

_HOUR_S = 3600.0


def _mount(invocation: Invocation) -> None:
    daemon, snapshotter = invocation.daemon, used(invocation)
    target = invocation.argument(1)
    key = target or f"ctr-images-mount-{time.time_ns() % 10**9}-{os.urandom(3).hex()}"
    try:
        daemon.lease = leases.make(daemon, key, {}, invocation.seconds("expiration", _HOUR_S))
    except AlreadyExists:
        daemon.lease = key
    try:
        image = get(daemon, invocation.argument(0))
        chosen = Documents(daemon).choose(image, platform_of(invocation.text("platform")))
        unpack(daemon, snapshotter, chosen, sync_fs=invocation.on("sync-fs"))
        line(chosen.chain_id)
        mounts = _prepared(invocation, key, chosen.chain_id)
        mounts = activated(daemon, key, mounts, temporary=True)
        line(_attached(mounts, target))
    except BaseException:
        _forget(invocation, key)
        raise


def _prepared(invocation: Invocation, key: str, parent: str) -> Sequence[Mount]:
    """What to mount for a snapshot upon an image; one that is there already is taken."""
    snapshotter = used(invocation)
    kind, request = (
        ("Prepare", messages.PrepareSnapshotRequest(snapshotter=snapshotter, key=key, parent=parent))
        if invocation.on("rw")
        else ("View", messages.ViewSnapshotRequest(snapshotter=snapshotter, key=key, parent=parent))
    )
    mounts: Sequence[Mount]
    try:
        mounts = invocation.daemon.ask(SNAPSHOTS, kind, request).mounts
    except AlreadyExists:
        again = messages.MountsRequest(snapshotter=snapshotter, key=key)
        mounts = invocation.daemon.ask(SNAPSHOTS, "Mounts", again).mounts
    return mounts


def _attached(mounts: Sequence[Mount], target: str) -> str:
    """Make mounts somewhere; where that is. Without a target only what is a directory already will do."""
    if not target:
        if len(mounts) != 1 or mounts[0].type != "bind":
            raise FailedPrecondition("this snapshot has to be mounted to be seen: say where")
        return mounts[0].source
    from cloche.kernel.mounts import assemble
    from cloche.kernel.syscalls import AT_FDCWD, move_mount

    made = assemble(from_messages(mounts))
    try:
        move_mount(made, AT_FDCWD, target)
    finally:
        os.close(made)
    return target


def _forget(invocation: Invocation, key: str) -> None:
    daemon = invocation.daemon
    for service, name, request in (
        (LEASES, "Delete", DeleteRequest(id=key)),
        (SNAPSHOTS, "Remove", messages.RemoveSnapshotRequest(snapshotter=used(invocation), key=key)),
    ):
        try:
            daemon.find(service, name, request)
        except ClocheError:
            pass  # what went wrong before is what is told


def _is_unmounted(target: str) -> bool:
    """Take one mount away from a place; False where there is none (EINVAL says so)."""
    from cloche.kernel.syscalls import umount2

    try:
        umount2(target)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


def _unmount(invocation: Invocation) -> None:
    target = invocation.argument(0)
    while _is_unmounted(target):
        pass
    if invocation.on("rm"):
        daemon = invocation.daemon
        daemon.find(LEASES, "Delete", DeleteRequest(id=target))
        request = messages.RemoveSnapshotRequest(snapshotter=used(invocation), key=target)
        daemon.find(SNAPSHOTS, "Remove", request)
    line(target)


MOUNT = CtrCommand(
    "[OPTIONS] IMAGE [TARGET]",
    _mount,
    groups=(
        (
            "Options",
            (
                LABEL,
                SNAPSHOTTER,
                ("expiration", "x", "duration", "When the snapshot may be collected (default 1h)"),
                ("platform", "", "string", "Of an image for several platforms, this one"),
                ("rw", "", "bool", "To be written to"),
                ("sync-fs", "", "bool", "Wait until it is on the disk"),
            ),
        ),
        ("Registry Options", tuple(row for row in REGISTRY if row[0] != "refresh")),
    ),
    minimum=1,
    maximum=2,
)
UNMOUNT = CtrCommand(
    "[OPTIONS] TARGET",
    _unmount,
    groups=(("Options", (LABEL, SNAPSHOTTER, ("rm", "", "bool", "Remove the snapshot too"))),),
    minimum=1,
    maximum=1,
)
