"""`ctr tasks`: what runs."""

from __future__ import annotations

import os

from cloche.cli.arguments import UsageError
from cloche.cli.ctr import containers
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.creation import STOP_SIGNAL
from cloche.cli.ctr.process import Process
from cloche.cli.ctr.tabs import aligned
from cloche.cli.output import warn, write
from cloche.engine.signals import number_of
from cloche.errors import ClocheError
from cloche.wire.messages import tasks as messages
from cloche.wire.messages import types
from cloche.wire.messages.runc_options import ProcessDetails
from cloche.wire.messages.tasks import TASKS


def _list(invocation: Invocation) -> None:
    found = invocation.daemon.ask(TASKS, "List", messages.ListTasksRequest()).tasks
    # containerd 1.6 fills in `id` alone.
    rows = [
        (each.id or each.container_id, each.pid, types.STATUS_NAMES[each.status].upper()) for each in found
    ]
    if invocation.on("quiet"):
        write("".join(f"{name}\n" for name, _, _ in rows))
        return
    lines = [f"{name}\t{pid}\t{status}" for name, pid, status in rows]
    write(aligned(["TASK\tPID\tSTATUS\t", *lines], least=4, padding=4))


def _ps(invocation: Invocation) -> None:
    name = containers.get(invocation.daemon, invocation.argument(0)).id
    found = invocation.daemon.ask(TASKS, "ListPids", messages.ListPidsRequest(container_id=name)).processes
    rows = [f"{each.pid}\t{_told(each)}" for each in found]
    write(aligned(["PID\tINFO", *rows], padding=4))


def _told(process: types.ProcessInfo) -> str:
    if process.info is None:
        return "-"
    return f'exec_id:"{ProcessDetails.decode(process.info.value).exec_id}"'


def _pause(invocation: Invocation) -> None:
    invocation.daemon.ask(TASKS, "Pause", messages.PauseTaskRequest(container_id=invocation.argument(0)))


def _resume(invocation: Invocation) -> None:
    invocation.daemon.ask(TASKS, "Resume", messages.ResumeTaskRequest(container_id=invocation.argument(0)))


def _kill(invocation: Invocation) -> None:
    everyone, execution = invocation.on("all"), invocation.text("exec-id")
    if everyone and execution:
        raise UsageError("--all and --exec-id do not go together")
    container = containers.get(invocation.daemon, invocation.argument(0))
    word = invocation.text("signal") or container.labels.get(STOP_SIGNAL) or "SIGTERM"
    Process(invocation.daemon, container.id, execution).kill(number_of(word), everyone=everyone)


def _delete(invocation: Invocation) -> int:
    execution = invocation.text("exec-id")
    if execution:
        return _remove(invocation, Process(invocation.daemon, invocation.argument(0), execution))
    failed = 0
    for name in invocation.arguments:
        try:
            containers.get(invocation.daemon, name)
            code = _remove(invocation, Process(invocation.daemon, name))
        except ClocheError as error:
            warn(f"unable to delete {name}: {error}")
            failed = 1
            continue
        if code:
            warn(f"task {name} had ended with exit code {code}")
    return failed


def _remove(invocation: Invocation, process: Process) -> int:
    """Forget a process, and the pipes that a detached `ctr run` of ours made for it; its exit code."""
    folder = os.path.dirname(process.state().stdout)
    code = process.destroy() if invocation.on("force") else process.delete()
    if os.path.dirname(folder) == f"{invocation.session.state}/fifo":
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
    return code


LIST = CtrCommand("[OPTIONS]", _list, groups=(("Options", (("quiet", "q", "bool", "Only the ids"),)),))
PS = CtrCommand("CONTAINER", _ps, minimum=1, maximum=1)
PAUSE = CtrCommand("CONTAINER", _pause, minimum=1, maximum=1)
RESUME = CtrCommand("CONTAINER", _resume, minimum=1, maximum=1)
KILL = CtrCommand(
    "[OPTIONS] CONTAINER",
    _kill,
    groups=(
        (
            "Options",
            (
                ("all", "a", "bool", "To all of its processes"),
                ("exec-id", "", "string", "To this further process"),
                ("signal", "s", "string", "Which signal (default the image's, or SIGTERM)"),
            ),
        ),
    ),
    minimum=1,
    maximum=1,
)
DELETE = CtrCommand(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    _delete,
    groups=(
        (
            "Options",
            (
                ("exec-id", "", "string", "Only this further process"),
                ("force", "f", "bool", "Kill it first"),
            ),
        ),
    ),
    minimum=1,
    maximum=None,
)
