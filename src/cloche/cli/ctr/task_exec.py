"""`ctr tasks exec`: another process in a container that runs."""

from __future__ import annotations

import os

from cloche.cli.arguments import UsageError
from cloche.cli.ctr import attached, containers
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.creation import Files
from cloche.cli.ctr.flags import IO
from cloche.cli.ctr.process import Process
from cloche.engine.specification import process_user
from cloche.errors import ClocheError
from cloche.spec.document import dumps
from cloche.wire.messages import snapshots
from cloche.wire.messages import tasks as messages
from cloche.wire.messages.google import Any
from cloche.wire.messages.snapshots import SNAPSHOTS
from cloche.wire.messages.tasks import TASKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any as Anything

    from cloche.wire.messages.containers import Container

PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"


def _exec(invocation: Invocation) -> int:
    if not invocation.text("exec-id"):
        raise UsageError("--exec-id is needed: a name for the process")
    if invocation.text("log-uri") and invocation.text("fifo-dir"):
        raise UsageError("--log-uri and --fifo-dir do not go together")
    container = containers.get(invocation.daemon, invocation.argument(0))
    terminal, detach = invocation.on("tty"), invocation.on("detach")
    process = Process(invocation.daemon, container.id, invocation.text("exec-id"))
    spec = _process(invocation, container)
    joined = attached.streams(invocation, process.execution, terminal=terminal)
    added = kept = False
    try:
        request = messages.ExecProcessRequest(
            container_id=container.id,
            exec_id=process.execution,
            stdin=joined.stdin,
            stdout=joined.stdout,
            stderr=joined.stderr,
            terminal=terminal,
            spec=Any(type_url=PROCESS_TYPE, value=dumps(spec)),
        )
        invocation.daemon.ask(TASKS, "Exec", request)
        added = True
        joined.connect(lambda: attached.close_input(process))
        if detach:
            process.start()
            kept = True
            return 0
        return attached.follow(process, joined, terminal=terminal)
    finally:
        if not kept:
            if added:
                _forget(process)
            joined.remove()


def _process(invocation: Invocation, container: Container) -> dict[str, Anything]:
    """config.json's `process`, with what the flags change."""
    config = containers.spec_of(container)
    process: dict[str, Anything] = config["process"]
    if invocation.text("user"):
        root = config["root"]["path"]
        mounts = ()
        if container.snapshot_key:
            request = snapshots.MountsRequest(snapshotter=container.snapshotter, key=container.snapshot_key)
            mounts = invocation.daemon.ask(SNAPSHOTS, "Mounts", request).mounts
        files = Files(mounts, root if os.path.isabs(root) else "")
        process["user"] = dict(process_user(files.find(invocation.text("user"))))
    process["terminal"] = invocation.on("tty")
    process["args"] = invocation.arguments[1:]
    process["cwd"] = invocation.text("cwd") or process["cwd"]
    return process


def _forget(process: Process) -> None:
    try:
        process.delete()
    except ClocheError:
        pass  # it runs on, or never came to be


EXEC = CtrCommand(
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    _exec,
    groups=(
        (
            "Options",
            (
                ("cwd", "", "string", "Working directory"),
                ("exec-id", "", "string", "A name for the process"),
                ("tty", "t", "bool", "With a terminal"),
                ("user", "", "string", "Who it runs as, USER[:GROUP]"),
                *IO,
            ),
        ),
    ),
    minimum=1,
    maximum=None,
    passes_on=1,
)
