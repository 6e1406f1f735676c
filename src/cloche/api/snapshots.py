"""Snapshots: file systems that grow upon each other (containerd.services.snapshots.v1)."""

from __future__ import annotations

from cloche.api.mounts import to_messages
from cloche.errors import InvalidArgument
from cloche.spec import filters
from cloche.store import labels as label_column
from cloche.store.snapshots.rows import ACTIVE, COMMITTED, VIEW, Info
from cloche.wire.messages import snapshots as messages
from cloche.wire.messages.google import Empty, Timestamp
from cloche.wire.messages.metadata_events import SnapshotCommit, SnapshotPrepare, SnapshotRemove

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from cloche.api.call import Call
    from cloche.api.host import Host
    from cloche.engine.context import Context
    from cloche.spec.mount import Mount
    from cloche.store.snapshots.local import LocalSnapshotter
    from cloche.store.snapshots.rows import Usage

_KINDS = {VIEW: messages.VIEW, ACTIVE: messages.ACTIVE, COMMITTED: messages.COMMITTED}
_BLOCK_ENTRIES = 100
PROXIED = "cloche"
"""What another containerd calls us that has us as a proxy plug-in; "cloche-NAME" for our snapshotter NAME."""
_ROOT_LABEL = "containerd.io/gc.root"


class Snapshots:
    """The service."""

    SERVICE = messages.SNAPSHOTS

    def __init__(self, host: Host) -> None:
        self._host = host

    def _of(self, call: Call, name: str) -> tuple[Context, LocalSnapshotter]:
        """The caller's stores, and the snapshotter it names. Raises NotFound."""
        if _is_proxied(name):
            # Its keys carry its namespaces, and it names none here.
            context = self._host.named(PROXIED)
            return context, context.snapshotter(name[len(PROXIED) + 1 :])
        context = self._host.context(call)
        return context, context.snapshotter(name)

    async def prepare(
        self, call: Call, request: messages.PrepareSnapshotRequest
    ) -> messages.PrepareSnapshotResponse:
        """An active snapshot upon a committed one."""
        mounts = await call.run(self._prepare, call, request, ACTIVE)
        return messages.PrepareSnapshotResponse(mounts=to_messages(mounts))

    async def view(self, call: Call, request: messages.ViewSnapshotRequest) -> messages.ViewSnapshotResponse:
        """The same to read only."""
        mounts = await call.run(self._prepare, call, request, VIEW)
        return messages.ViewSnapshotResponse(mounts=to_messages(mounts))

    def _prepare(
        self,
        call: Call,
        request: messages.PrepareSnapshotRequest | messages.ViewSnapshotRequest,
        kind: str,
    ) -> tuple[Mount, ...]:
        context, snapshotter = self._of(call, request.snapshotter)
        make = snapshotter.prepare if kind == ACTIVE else snapshotter.view
        labels = _kept(request.snapshotter, request.labels)
        # What will be written into it is not synced either, until it is committed.
        with context.metadata.write(durable=False) as tx:
            mounts = make(tx, request.key, request.parent or None, labels)
            self._host.lease(tx, call, f"snapshots/{snapshotter.name}", request.key)
        event = SnapshotPrepare(key=request.key, parent=request.parent, snapshotter=snapshotter.name)
        self._host.publish(context.namespace, "/snapshot/prepare", event)
        return mounts

    def mounts(self, call: Call, request: messages.MountsRequest) -> messages.MountsResponse:
        """What to mount for an active snapshot or a view."""
        context, snapshotter = self._of(call, request.snapshotter)
        with context.metadata.read() as tx:
            mounts = snapshotter.mounts(tx, request.key)
        return messages.MountsResponse(mounts=to_messages(mounts))

    async def commit(self, call: Call, request: messages.CommitSnapshotRequest) -> Empty:
        """Make an active snapshot a committed one."""
        await call.run(self._commit, call, request)
        return Empty()

    def _commit(self, call: Call, request: messages.CommitSnapshotRequest) -> None:
        context, snapshotter = self._of(call, request.snapshotter)
        usage = self._usage(context, snapshotter, request.key, fresh=True)
        snapshotter.sync()
        with context.metadata.write() as tx:
            labels = _kept(request.snapshotter, request.labels)
            snapshotter.commit(tx, request.name, request.key, labels, usage)
            self._host.lease(tx, call, f"snapshots/{snapshotter.name}", request.name)
        event = SnapshotCommit(key=request.key, name=request.name, snapshotter=snapshotter.name)
        self._host.publish(context.namespace, "/snapshot/commit", event)

    async def remove(self, call: Call, request: messages.RemoveSnapshotRequest) -> Empty:
        """Forget a snapshot that is nobody's parent."""
        await call.run(self._remove, call, request)
        return Empty()

    def _remove(self, call: Call, request: messages.RemoveSnapshotRequest) -> None:
        context, snapshotter = self._of(call, request.snapshotter)
        with context.metadata.write() as tx:
            snapshotter.remove(tx, request.key)
        event = SnapshotRemove(key=request.key, snapshotter=snapshotter.name)
        self._host.publish(context.namespace, "/snapshot/remove", event)
        self._host.on_garbage(())  # who deletes the directory, as in containerd: it may be a large one

    def stat(self, call: Call, request: messages.StatSnapshotRequest) -> messages.StatSnapshotResponse:
        """What is known of one."""
        context, snapshotter = self._of(call, request.snapshotter)
        with context.metadata.read() as tx:
            info = snapshotter.stat(tx, request.key)
        return messages.StatSnapshotResponse(info=_to_message(info))

    async def update(
        self, call: Call, request: messages.UpdateSnapshotRequest
    ) -> messages.UpdateSnapshotResponse:
        """Other labels, which is all that can change."""
        info = await call.run(self._update, call, request)
        return messages.UpdateSnapshotResponse(info=_to_message(info))

    def _update(self, call: Call, request: messages.UpdateSnapshotRequest) -> Info:
        context, snapshotter = self._of(call, request.snapshotter)
        if request.info is None or not request.info.name:
            raise InvalidArgument("snapshot name is required for update")
        sent = request.info
        paths = request.update_mask.paths if request.update_mask else ()
        with context.metadata.write() as tx:
            labels: Mapping[str, str] = snapshotter.stat(tx, sent.name).labels
            for path in paths or ("labels",):
                field, _, key = path.partition(".")
                if field != "labels":
                    raise InvalidArgument(f"cannot update {path!r} field on snapshot {sent.name!r}")
                wanted = {key: sent.labels.get(key)} if key else sent.labels
                labels = label_column.merged(labels if key else {}, wanted)
            return snapshotter.update(tx, sent.name, labels)

    async def list(
        self, call: Call, request: messages.ListSnapshotsRequest
    ) -> AsyncIterator[messages.ListSnapshotsResponse]:
        """Those that the filters choose, a hundred a message."""
        context, snapshotter = self._of(call, request.snapshotter)
        chosen = filters.parse(request.filters)
        with context.metadata.read() as tx:
            found = [info for info in snapshotter.walk(tx) if not chosen or chosen.matches(_fields(info))]
        for start in range(0, len(found), _BLOCK_ENTRIES):
            block = found[start : start + _BLOCK_ENTRIES]
            yield messages.ListSnapshotsResponse(info=[_to_message(info) for info in block])

    async def usage(self, call: Call, request: messages.UsageRequest) -> messages.UsageResponse:
        """What one takes on disk, without its parents."""
        context, snapshotter = self._of(call, request.snapshotter)
        usage = await call.run(self._usage, context, snapshotter, request.key)
        return messages.UsageResponse(size=usage.size, inodes=usage.inodes)

    def _usage(
        self, context: Context, snapshotter: LocalSnapshotter, key: str, *, fresh: bool = False
    ) -> Usage:
        look = snapshotter.disk_usage if fresh else snapshotter.usage
        with context.metadata.read() as tx:
            return look(tx, key)

    async def cleanup(self, call: Call, request: messages.CleanupRequest) -> Empty:
        """Delete what crashes and removals left on disk."""
        await call.run(self._cleanup, call, request.snapshotter)
        return Empty()

    def _cleanup(self, call: Call, name: str) -> None:
        context, snapshotter = self._of(call, name)
        with context.metadata.write() as tx:
            snapshotter.cleanup(tx)
        snapshotter.purge()


def _kept(snapshotter: str, labels: Mapping[str, str]) -> dict[str, str]:
    """Labels of a snapshot. What another containerd has here it removes itself: our collector must not."""
    return {**labels, _ROOT_LABEL: "proxied"} if _is_proxied(snapshotter) else dict(labels)


def _is_proxied(snapshotter: str) -> bool:
    return snapshotter == PROXIED or snapshotter.startswith(f"{PROXIED}-")


def _to_message(info: Info) -> messages.Info:
    return messages.Info(
        name=info.name,
        parent=info.parent,
        kind=_KINDS[info.kind],
        created_at=Timestamp.of(info.created_at),
        updated_at=Timestamp.of(info.updated_at),
        labels=info.labels,
    )


def _fields(info: Info) -> filters.Fields:
    plain = {"kind": info.kind, "name": info.name, "parent": info.parent}

    def field(path: tuple[str, ...]) -> str | None:
        if path[0] == "labels":
            return filters.in_map(path[1:], info.labels)
        return plain.get(path[0]) if len(path) == 1 else None

    return field
