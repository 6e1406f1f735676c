"""`start`, `kill`, `delete`, `pause` and `resume`: the life of a container that exists."""

from __future__ import annotations

from cloche import os
from cloche.errors import FailedPrecondition, InvalidArgument, NotFound
from cloche.runtime.face.arguments import Flag
from cloche.runtime.face.invocation import Command, Invocation

_LAST_SIGNAL = 64


def signal_number(word: str) -> int:
    """The signal that a word names: a number, or a name with or without SIG in either case.

    SIGRTMIN+N and SIGRTMAX-N count too. Raises InvalidArgument.
    """
    import _signal  # type: ignore[import-not-found] # `signal` costs the import of enum

    if word.isascii() and word.removeprefix("-").isdigit():
        number = int(word) if len(word) < 5 else -1
    else:
        name = word.upper()
        name = name if name.startswith("SIG") else f"SIG{name}"
        base, sign, offset = name.partition("+" if "+" in name else "-")
        number = int(getattr(_signal, base, -1)) if base.isalnum() else -1
        if sign:
            real_time = base.startswith("SIGRT") and offset.isascii() and offset.isdigit() and len(offset) < 3
            number = number + int(f"{sign}{offset}") if real_time else -1
            number = number if number >= _signal.SIGRTMIN else -1
    if not 0 <= number <= _LAST_SIGNAL:
        raise InvalidArgument(f'unknown signal "{word}": must be a number up to 64 or a name such as TERM')
    return number


def start(invocation: Invocation) -> int:
    """Let the process of a created container go on to its program."""
    from cloche.runtime.starting import report_failed_start

    container = invocation.container()
    report_failed_start(container)
    status = container.status()
    if status == "stopped":
        raise FailedPrecondition("cannot start a container that has stopped: delete it, and create it again")
    if status != "created":
        raise FailedPrecondition(f"cannot start an already {status} container: only a created one")
    if not os.getenv("NOTIFY_SOCKET"):
        container.start()
        return 0
    from cloche.runtime.face.readiness import Readiness

    process = container.stored.open_process()
    if process is None:
        raise FailedPrecondition("cannot start a container that has stopped")
    try:
        with Readiness(os.getenv("NOTIFY_SOCKET")) as readiness:
            readiness.listen(container.folder.path)
            container.start()
            readiness.forward(process, container.pid)
    finally:
        os.close(process)
    return 0


def kill(invocation: Invocation) -> int:
    """Send a signal to the container's first process, with --all to every one."""
    words = invocation.options.words
    everyone = invocation.options.switch("all")
    container = invocation.container()
    signal = signal_number(words[1] if len(words) > 1 else "SIGTERM")
    stopped = container.status() == "stopped"
    if everyone and stopped and not (container.has_cgroups and container.processes()):
        # Whoever wants all of them gone has it.
        return 0
    if stopped and not everyone:
        raise FailedPrecondition("container not running: its process has ended; delete removes what is left")
    container.kill(signal, everyone=everyone)
    return 0


def delete(invocation: Invocation) -> int:
    """Remove a stopped or never started container; with --force any, and it need not exist."""
    force = invocation.options.switch("force")
    try:
        container = invocation.container()
    except NotFound:
        if force:
            _sweep(invocation.root)
            return 0
        raise
    status = container.status()
    if status not in ("stopped", "created") and not force:
        raise FailedPrecondition(
            f"cannot delete container {container.id} that is not stopped: {status}: "
            "end it with kill first, or use --force"
        )
    # Nothing of the user's runs in one that was only created.
    for warning in container.delete(force=force or status == "created"):
        invocation.log.warning(warning)
    if force:
        _sweep(invocation.root)
    return 0


def _sweep(root: str) -> None:
    """Whoever forces it may be cleaning up after a create or a delete that was killed."""
    from cloche.runtime.state import sweep

    sweep(root)


def pause(invocation: Invocation) -> int:
    """Freeze all processes of a container."""
    container = invocation.container()
    if container.status() not in ("running", "created"):
        raise FailedPrecondition(f"container not running or created: {container.status()}")
    container.pause()
    return 0


def resume(invocation: Invocation) -> int:
    """Let the processes of a paused container go on."""
    container = invocation.container()
    if container.status() != "paused":
        raise FailedPrecondition("container not paused")
    container.resume()
    return 0


_ONE = "<container-id>"
COMMANDS = {
    "start": Command("start the process of a created container", _ONE, start),
    "kill": Command(
        "send a signal to a container's first process",
        "<container-id> [signal]",
        kill,
        (Flag("all", "switch", "to every process of the container", "a", hidden=True),),
        most=2,
        description="The signal is a name or a number; SIGTERM if there is none.",
    ),
    "delete": Command(
        "remove what a stopped container left",
        _ONE,
        delete,
        (Flag("force", "switch", "kill it first if it runs, and do not mind if there is none", "f"),),
    ),
    "pause": Command("freeze all processes of a container", _ONE, pause),
    "resume": Command("let the processes of a paused container go on", _ONE, resume),
}
