"""`ctr containers`: what was asked for, running or not."""

from __future__ import annotations

from cloche.cli.ctr import values
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.tabs import aligned
from cloche.cli.output import line, warn, write, write_bytes
from cloche.errors import ClocheError, FailedPrecondition
from cloche.wire.messages import containers as messages
from cloche.wire.messages import tasks, types
from cloche.wire.messages.containers import CONTAINERS
from cloche.wire.messages.google import FieldMask
from cloche.wire.messages.snapshots import SNAPSHOTS, RemoveSnapshotRequest
from cloche.wire.messages.tasks import TASKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.cli.ctr.daemon import Daemon


def get(daemon: Daemon, name: str) -> messages.Container:
    """A container. Raises NotFound."""
    container: messages.Container = daemon.ask(
        CONTAINERS, "Get", messages.GetContainerRequest(id=name)
    ).container
    return container


def spec_of(container: messages.Container) -> dict[str, Any]:
    """Its config.json."""
    from cloche.spec.document import loads

    config: dict[str, Any] = loads(container.spec.value if container.spec else b"{}", "config.json")
    return config


def remove(daemon: Daemon, container: messages.Container, *, with_snapshot: bool = True) -> None:
    """Remove a container without a task, and its snapshot."""
    if with_snapshot and container.snapshot_key:
        request = RemoveSnapshotRequest(snapshotter=container.snapshotter, key=container.snapshot_key)
        daemon.find(SNAPSHOTS, "Remove", request)
    daemon.ask(CONTAINERS, "Delete", messages.DeleteContainerRequest(id=container.id))


def _list(invocation: Invocation) -> None:
    request = messages.ListContainersRequest(filters=invocation.arguments)
    found = invocation.daemon.ask(CONTAINERS, "List", request).containers
    if invocation.on("quiet"):
        write("".join(f"{each.id}\n" for each in found))
        return
    rows = [
        f"{each.id}\t{each.image or '-'}\t{each.runtime.name if each.runtime else ''}\t" for each in found
    ]
    write(aligned(["CONTAINER\tIMAGE\tRUNTIME\t", *rows], least=4, padding=4))


def _delete(invocation: Invocation) -> int:
    failed = 0
    for name in invocation.arguments:
        try:
            container = get(invocation.daemon, name)
            _end(invocation.daemon, name)
            remove(invocation.daemon, container, with_snapshot=not invocation.on("keep-snapshot"))
        except ClocheError as error:
            warn(f"failed to delete container {name!r}: {error}")
            failed = 1
    return failed


def _end(daemon: Daemon, name: str) -> None:
    """Remove a task that has ended or never began. Raises FailedPrecondition while it runs."""
    found = daemon.find(TASKS, "Get", tasks.GetRequest(container_id=name))
    if found is None:
        return
    status = found.process.status
    if status not in (types.STOPPED, types.CREATED):
        raise FailedPrecondition(
            f"cannot delete a container that is {types.STATUS_NAMES[status]}: kill it first"
        )
    daemon.ask(TASKS, "Delete", tasks.DeleteTaskRequest(container_id=name))


def _label(invocation: Invocation) -> None:
    name, *words = invocation.arguments
    labels = values.labels(words)
    changed = messages.Container(id=name, labels=labels)
    mask = FieldMask(paths=[f"labels.{key}" for key in labels])
    if not labels:
        line(values.shown(get(invocation.daemon, name).labels))
        return
    request = messages.UpdateContainerRequest(container=changed, update_mask=mask)
    line(values.shown(invocation.daemon.ask(CONTAINERS, "Update", request).container.labels))


def _info(invocation: Invocation) -> None:
    from cloche.spec.document import dumps_indented

    container = get(invocation.daemon, invocation.argument(0))
    spec = spec_of(container)
    if invocation.on("spec"):
        write_bytes(dumps_indented(spec))
        return
    runtime = container.runtime or messages.ContainerRuntime()
    extensions = {key: values.document(each) for key, each in sorted(container.extensions.items())}
    shown = {
        "ID": container.id,
        "Labels": dict(sorted(container.labels.items())),
        "Image": container.image,
        "Runtime": {
            "Name": runtime.name,
            "Options": values.document(runtime.options) if runtime.options else None,
        },
        "SnapshotKey": container.snapshot_key,
        "Snapshotter": container.snapshotter,
        "CreatedAt": values.moment(container.created_at),
        "UpdatedAt": values.moment(container.updated_at),
        "Extensions": extensions,
        "SandboxID": container.sandbox,
        "Spec": spec,
    }
    write_bytes(dumps_indented(shown))


LIST = CtrCommand(
    "[OPTIONS] [FILTER...]",
    _list,
    groups=(("Options", (("quiet", "q", "bool", "Only the ids"),)),),
    maximum=None,
)
DELETE = CtrCommand(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    _delete,
    groups=(("Options", (("keep-snapshot", "", "bool", "Leave its files where they are"),)),),
    minimum=1,
    maximum=None,
)
LABEL = CtrCommand("CONTAINER [KEY=VALUE...]", _label, minimum=1, maximum=None)
INFO = CtrCommand(
    "[OPTIONS] CONTAINER",
    _info,
    groups=(("Options", (("spec", "", "bool", "Only its config.json"),)),),
    minimum=1,
    maximum=1,
)
