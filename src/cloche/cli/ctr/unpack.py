"""Unpacking by a client: layers become snapshots, one after the other, by the daemon's differ.

snapshots.Prepare ──▶ diff.Apply ──▶ snapshots.Commit      for each layer that is not there yet
"""

from __future__ import annotations

import os

from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.image_check import is_unpacked
from cloche.cli.ctr.image_content import Documents, every, platform_of, target_of
from cloche.cli.ctr.leases import Leased
from cloche.cli.ctr.snapshots import used
from cloche.cli.ctr.tree import SNAPSHOTTER
from cloche.cli.output import line, write
from cloche.errors import AlreadyExists, DataLoss, NotFound
from cloche.spec import digest as digests
from cloche.spec.image import chain_ids
from cloche.wire.messages import content, snapshots, types
from cloche.wire.messages.content import CONTENT
from cloche.wire.messages.diff import DIFF, ApplyRequest
from cloche.wire.messages.google import FieldMask
from cloche.wire.messages.snapshots import SNAPSHOTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cli.ctr.daemon import Daemon
    from cloche.image.resolve import Chosen
    from cloche.spec.image import Descriptor

_UNCOMPRESSED = "containerd.io/uncompressed"


def unpack(daemon: Daemon, snapshotter: str, chosen: Chosen, *, sync_fs: bool = False) -> None:
    """Have every layer of an image in a snapshotter. Raises DataLoss for a layer that is another one."""
    if not is_unpacked(daemon, snapshotter, chosen):
        diff_ids = chosen.config.diff_ids
        parents = ("", *chain_ids(diff_ids))
        for layer, parent, diff_id in zip(chosen.manifest.layers, parents, diff_ids, strict=False):
            _extract(daemon, snapshotter, layer, parent, diff_id, sync_fs=sync_fs)
            _label(daemon, layer.digest, _UNCOMPRESSED, diff_id)
    reference = f"containerd.io/gc.ref.snapshot.{snapshotter}"
    _label(daemon, chosen.manifest.config.digest, reference, chosen.chain_id)


def _extract(
    daemon: Daemon, snapshotter: str, layer: Descriptor, parent: str, diff_id: str, *, sync_fs: bool
) -> None:
    name = _upon(parent, diff_id)
    key = f"extract-{os.urandom(6).hex()} {name}"
    labels = {"containerd.io/snapshot.ref": name}
    request = snapshots.PrepareSnapshotRequest(snapshotter=snapshotter, key=key, parent=parent, labels=labels)
    try:
        mounts = daemon.ask(SNAPSHOTS, "Prepare", request).mounts
    except AlreadyExists:
        return  # a remote snapshotter has the layer without our extracting it
    try:
        wanted = types.Descriptor(media_type=layer.media_type, digest=layer.digest, size=layer.size)
        applied = daemon.ask(DIFF, "Apply", ApplyRequest(diff=wanted, mounts=mounts, sync_fs=sync_fs)).applied
        if applied.digest != diff_id:
            raise DataLoss(f"layer {layer.digest}: unpacked it is {applied.digest}, not {diff_id}")
        commit = snapshots.CommitSnapshotRequest(snapshotter=snapshotter, name=name, key=key, labels=labels)
        daemon.ask(SNAPSHOTS, "Commit", commit)
    except AlreadyExists:
        _remove(daemon, snapshotter, key)  # somebody else unpacks the same image
    except BaseException:
        _remove(daemon, snapshotter, key)
        raise


def _upon(parent: str, diff_id: str) -> str:
    return digests.of(f"{parent} {diff_id}".encode()) if parent else diff_id


def _remove(daemon: Daemon, snapshotter: str, key: str) -> None:
    daemon.find(SNAPSHOTS, "Remove", snapshots.RemoveSnapshotRequest(snapshotter=snapshotter, key=key))


def _label(daemon: Daemon, digest: str, key: str, value: str) -> None:
    request = content.UpdateRequest(
        info=content.Info(digest=digest, labels={key: value}), update_mask=FieldMask(paths=[f"labels.{key}"])
    )
    daemon.find(CONTENT, "Update", request)


def _unpack(invocation: Invocation) -> None:
    digest = digests.validate(invocation.argument(0))
    daemon = invocation.daemon
    for image in every(daemon):
        target = target_of(image)
        if target.digest == digest:
            write(f"unpacking {digest} ({target.media_type})...")
            chosen = Documents(daemon).choose(image, platform_of(""))
            with Leased(daemon):
                unpack(daemon, used(invocation), chosen, sync_fs=invocation.on("sync-fs"))
            line("done")
            return
    raise NotFound(f"manifest {digest}: no image has it")


_SYNC = ("sync-fs", "", "bool", "Wait until it is on the disk")
UNPACK = CtrCommand(
    "[OPTIONS] DIGEST", _unpack, groups=(("Options", (_SYNC, SNAPSHOTTER)),), minimum=1, maximum=1
)
