"""`ctr snapshots diff`: what a snapshot changed, as a layer."""

from __future__ import annotations

from cloche.cli.ctr import blobs, values
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.leases import Leased
from cloche.cli.ctr.snapshots import rooted, stat, used
from cloche.cli.output import write_bytes
from cloche.spec.image import OCI_LAYER_GZIP
from cloche.wire.messages import snapshots as messages
from cloche.wire.messages.diff import DIFF as DIFF_SERVICE
from cloche.wire.messages.diff import DiffRequest
from cloche.wire.messages.snapshots import SNAPSHOTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloche.cli.ctr.daemon import Daemon
    from cloche.wire.messages.types import Descriptor, Mount


class _Viewed:
    """The mounts of a snapshot, through a view where it is committed; the view is removed at the end."""

    def __init__(self, daemon: Daemon, snapshotter: str, key: str) -> None:
        self._daemon = daemon
        self._snapshotter = snapshotter
        self._key = key
        self._view = ""

    def __enter__(self) -> Sequence[Mount]:
        name = self._snapshotter
        if not self._key:
            return ()
        mounts: Sequence[Mount]
        if stat(self._daemon, name, self._key).kind == messages.ACTIVE:
            request = messages.MountsRequest(snapshotter=name, key=self._key)
            mounts = self._daemon.ask(SNAPSHOTS, "Mounts", request).mounts
            return mounts
        self._view = f"{self._key}-view-key"
        view = messages.ViewSnapshotRequest(snapshotter=name, key=self._view, parent=self._key)
        mounts = self._daemon.ask(SNAPSHOTS, "View", view).mounts
        return mounts

    def __exit__(self, *_: object) -> None:
        if self._view:
            request = messages.RemoveSnapshotRequest(snapshotter=self._snapshotter, key=self._view)
            self._daemon.find(SNAPSHOTS, "Remove", request)


def between(
    daemon: Daemon,
    snapshotter: str,
    lower: str,
    upper: str,
    *,
    media_type: str = OCI_LAYER_GZIP,
    ref: str = "",
    labels: Mapping[str, str] | None = None,
) -> Descriptor:
    """Have the daemon make a layer of what one snapshot has and another has not (empty for nothing)."""
    with _Viewed(daemon, snapshotter, lower) as left, _Viewed(daemon, snapshotter, upper) as right:
        request = DiffRequest(left=left, right=right, media_type=media_type, ref=ref, labels=labels or {})
        made: Descriptor = daemon.ask(DIFF_SERVICE, "Diff", request).diff
        return made


def _diff(invocation: Invocation) -> None:
    daemon, snapshotter = invocation.daemon, used(invocation)
    first, second = invocation.argument(0), invocation.argument(1)
    labels = values.labels(invocation.all("label")) | (rooted() if invocation.on("keep") else {})
    if second:
        lower, upper = first, second
    else:
        lower, upper = stat(daemon, snapshotter, first).parent, first
    with Leased(daemon):
        made = between(
            daemon,
            snapshotter,
            lower,
            upper,
            media_type=invocation.text("media-type") or OCI_LAYER_GZIP,
            ref=invocation.text("ref"),
            labels=labels,
        )
        for data in blobs.pieces(daemon, made.digest):
            write_bytes(data)


_FLAGS = (
    ("keep", "", "bool", "Keep the layer in the content store"),
    ("label", "", "list", "Label of the layer"),
    ("media-type", "", "string", f"Form of the layer (default {OCI_LAYER_GZIP})"),
    ("ref", "", "string", "Name of the ingest"),
)

DIFF = CtrCommand("[OPTIONS] KEY [OTHER-KEY]", _diff, groups=(("Options", _FLAGS),), minimum=1, maximum=2)
