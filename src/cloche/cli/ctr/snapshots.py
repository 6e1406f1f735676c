"""`ctr snapshots`: layers of file systems, as a snapshotter has them."""

from __future__ import annotations

import time

from cloche.cli.ctr import values
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.tabs import aligned
from cloche.cli.output import line, write, write_bytes
from cloche.errors import ClocheError
from cloche.wire.messages import snapshots as messages
from cloche.wire.messages.google import FieldMask
from cloche.wire.messages.snapshots import SNAPSHOTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloche.cli.ctr.daemon import Daemon

KINDS = ("Unknown", "View", "Active", "Committed")


def every(daemon: Daemon, snapshotter: str) -> Iterator[messages.Info]:
    """All snapshots of a snapshotter."""
    request = messages.ListSnapshotsRequest(snapshotter=snapshotter)
    for answer in daemon.stream(SNAPSHOTS, "List", request):
        yield from answer.info


def stat(daemon: Daemon, snapshotter: str, key: str) -> messages.Info:
    """One snapshot. Raises NotFound."""
    info: messages.Info = daemon.ask(
        SNAPSHOTS, "Stat", messages.StatSnapshotRequest(snapshotter=snapshotter, key=key)
    ).info
    return info


def rooted() -> dict[str, str]:
    """The label of what a user made by hand, which no image refers to: it is kept all the same."""
    return {"containerd.io/gc.root": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def used(of: Invocation) -> str:
    """The snapshotter to work with: overlayfs unless another is asked for."""
    return of.snapshotter or "overlayfs"


def _list(invocation: Invocation) -> None:
    found = every(invocation.daemon, used(invocation))
    lines = [f"{each.name}\t{each.parent}\t{KINDS[each.kind]}\t" for each in found]
    write(aligned(["KEY\tPARENT\tKIND\t", *lines]))


def _usage(invocation: Invocation) -> None:
    daemon, snapshotter = invocation.daemon, used(invocation)
    keys = invocation.arguments or [each.name for each in every(daemon, snapshotter)]
    lines = ["KEY\tSIZE\tINODES\t"]
    for key in keys:
        usage = daemon.ask(SNAPSHOTS, "Usage", messages.UsageRequest(snapshotter=snapshotter, key=key))
        shown = str(usage.size) if invocation.on("b") else values.size(usage.size)
        lines.append(f"{key}\t{shown}\t{usage.inodes}\t")
    write(aligned(lines))


def _delete(invocation: Invocation) -> None:
    for key in invocation.arguments:
        request = messages.RemoveSnapshotRequest(snapshotter=used(invocation), key=key)
        try:
            invocation.daemon.ask(SNAPSHOTS, "Remove", request)
        except ClocheError as error:
            raise type(error)(f"failed to remove {key!r}: {error}") from None


def _commit(invocation: Invocation) -> None:
    name, key = invocation.arguments
    request = messages.CommitSnapshotRequest(
        snapshotter=used(invocation), name=name, key=key, labels=rooted()
    )
    invocation.daemon.ask(SNAPSHOTS, "Commit", request)


def _info(invocation: Invocation) -> None:
    from cloche.spec.document import dumps_indented

    found = stat(invocation.daemon, used(invocation), invocation.argument(0))
    shown = {"Kind": KINDS[found.kind], "Name": found.name}
    if found.parent:
        shown["Parent"] = found.parent
    labels = {"Labels": dict(sorted(found.labels.items()))} if found.labels else {}
    times = {"Created": values.moment(found.created_at), "Updated": values.moment(found.updated_at)}
    write_bytes(dumps_indented(shown | labels | times))


def _label(invocation: Invocation) -> None:
    key, *words = invocation.arguments
    changes = values.labels(words)
    if changes:
        kept = {name: value for name, value in changes.items() if value}
        request = messages.UpdateSnapshotRequest(
            snapshotter=used(invocation),
            info=messages.Info(name=key, labels=kept),
            update_mask=FieldMask(paths=[f"labels.{name}" for name in changes]),
        )
        found = invocation.daemon.ask(SNAPSHOTS, "Update", request).info
    else:
        found = stat(invocation.daemon, used(invocation), key)
    line(values.shown(found.labels))


def _tree(invocation: Invocation) -> None:
    children: dict[str, list[str]] = {}
    for each in every(invocation.daemon, used(invocation)):
        children.setdefault(each.parent, []).append(each.name)
    todo = [(name, 0) for name in reversed(children.get("", []))]
    while todo:
        name, level = todo.pop()
        branch = "\\_" if level else ""
        write(f"{'  ' * level}{branch} {name}\n")
        todo += [(child, level + 1) for child in reversed(children.get(name, []))]


LIST = CtrCommand("", _list)
USAGE = CtrCommand(
    "[OPTIONS] [KEY...]",
    _usage,
    groups=(("Options", (("b", "b", "bool", "Sizes in bytes"),)),),
    maximum=None,
)
DELETE = CtrCommand("KEY [KEY...]", _delete, maximum=None)
COMMIT = CtrCommand("NAME ACTIVE-KEY", _commit, minimum=2, maximum=2)
INFO = CtrCommand("KEY", _info, minimum=1, maximum=1)
LABEL = CtrCommand("KEY [KEY=VALUE...]", _label, minimum=1, maximum=None)
SNAPSHOT_TREE = CtrCommand("", _tree)
