"""`ctr tasks start` and `attach`, and what `ctr run` does once it has a container."""

from __future__ import annotations

from cloche.cli.ctr import attached, containers
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.flags import IO
from cloche.cli.ctr.process import Process
from cloche.cli.ctr.stdio import Streams
from cloche.errors import ClocheError, NotFound
from cloche.wire.messages import snapshots
from cloche.wire.messages import tasks as messages
from cloche.wire.messages.google import Any
from cloche.wire.messages.runc_options import Options
from cloche.wire.messages.snapshots import SNAPSHOTS
from cloche.wire.messages.tasks import TASKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any as Anything

    from cloche.cli.ctr.daemon import Daemon
    from cloche.wire.messages.containers import Container
    from cloche.wire.messages.types import Descriptor


def run(
    invocation: Invocation,
    container: Container,
    checkpoint: Descriptor | None = None,
    *,
    detach: bool = False,
) -> int:
    """Make a container's task and start it; its exit code, 0 where it is left running.

    checkpoint: processes to begin with, as CRIU wrote them. detach: leave it running, as --detach does.
    """
    spec = containers.spec_of(container)
    terminal = bool(spec.get("process", {}).get("terminal"))
    detach = detach or invocation.on("detach")
    process = Process(invocation.daemon, container.id)
    joined = attached.streams(invocation, container.id, terminal=terminal)
    made = kept = False
    try:
        joined.connect(lambda: attached.close_input(process))
        pid = _make(invocation, container, spec, joined, terminal=terminal, checkpoint=checkpoint)
        made = True
        attached.note_pid(invocation.text("pid-file"), pid)
        if detach:
            process.start()
            kept = True
            return 0
        code = attached.follow(process, joined, terminal=terminal)
        process.delete()
        made = False
        return code
    finally:
        if not kept:
            if made:
                _clean(process)
            joined.remove()


def _make(
    invocation: Invocation,
    container: Container,
    spec: dict[str, Anything],
    joined: Streams,
    *,
    terminal: bool,
    checkpoint: Descriptor | None,
) -> int:
    """Make the task; its pid."""
    request = messages.CreateTaskRequest(
        container_id=container.id,
        rootfs=_rootfs(invocation.daemon, container),
        stdin=joined.stdin,
        stdout=joined.stdout,
        stderr=joined.stderr,
        terminal=terminal,
        checkpoint=checkpoint,
        options=_options(invocation, container, spec),
    )
    pid: int = invocation.daemon.ask(TASKS, "Create", request).pid
    return pid


def _rootfs(daemon: Daemon, container: Container) -> list[Anything]:
    if not container.snapshot_key:
        return []
    request = snapshots.MountsRequest(snapshotter=container.snapshotter, key=container.snapshot_key)
    return list(daemon.ask(SNAPSHOTS, "Mounts", request).mounts)


def _options(invocation: Invocation, container: Container, spec: dict[str, Anything]) -> Any | None:
    """The runtime's options where this task has other ones than its container."""
    linux = spec.get("linux", {})
    users, groups = linux.get("uidMappings"), linux.get("gidMappings")
    if not (invocation.on("no-pivot") or users or groups):
        return None
    given = container.runtime.options if container.runtime else None
    options = Options.decode(given.value) if given and given.type_name == Options.FULL_NAME else Options()
    options.no_pivot_root = invocation.on("no-pivot")
    options.io_uid = users[0]["hostID"] if users else 0
    options.io_gid = groups[0]["hostID"] if groups else 0
    return Any.pack(options)


def _clean(process: Process) -> None:
    try:
        process.destroy()
    except NotFound:
        pass
    except ClocheError as error:
        from cloche.cli.output import warn

        warn(f"task {process.container} could not be removed: {error}")


def _start(invocation: Invocation) -> int:
    return run(invocation, containers.get(invocation.daemon, invocation.argument(0)))


def _attach(invocation: Invocation) -> int:
    container = containers.get(invocation.daemon, invocation.argument(0))
    process = Process(invocation.daemon, container.id)
    state = process.state()
    joined = Streams(state.stdin, state.stdout, "" if state.terminal else state.stderr)
    joined.connect(lambda: attached.close_input(process))
    code = attached.follow(process, joined, terminal=state.terminal, start=False)
    process.delete()
    return code


START = CtrCommand(
    "[OPTIONS] CONTAINER",
    _start,
    groups=(
        (
            "Options",
            (
                ("no-pivot", "", "bool", "Without pivot_root"),
                ("null-io", "", "bool", "Without standard streams"),
                ("pid-file", "", "string", "File that gets the pid"),
                *IO,
            ),
        ),
    ),
    minimum=1,
    maximum=1,
)
ATTACH = CtrCommand("CONTAINER", _attach, minimum=1, maximum=1)
