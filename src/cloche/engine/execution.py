"""One more process in a running container."""

from __future__ import annotations

import os

from cloche.engine import capabilities, lifecycle, rootfs, specification
from cloche.engine.kept import Kept
from cloche.engine.specification import Facts
from cloche.errors import InvalidArgument
from cloche.kernel import passwd
from cloche.shim.parent import Ends
from cloche.shim.streams import Streams
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloche.engine.context import Context
    from cloche.engine.terminal import Attached
    from cloche.runtime.container import Container as RuntimeContainer
    from cloche.runtime.container import Process
    from cloche.spec.config import Process as ProcessConfig
    from cloche.store.containers import Container


class ExecOptions(Record):
    """How a command is run in a container; what is not given is as the container has it.

    console_size: rows and columns of its console, where it has one.
    """

    env: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    tty: bool = False
    stdin_open: bool = False
    privileged: bool = False
    console_size: tuple[int, int] | None = None


def run(
    context: Context,
    row: Container,
    args: Sequence[str],
    options: ExecOptions | None,
    *,
    stdio: tuple[int, int, int],
    on_start: Callable[[Attached], None] | None,
) -> int:
    """See `Container.execute`."""
    from cloche.engine.terminal import LocalTerminal

    options = options or ExecOptions()
    running = _start(context, row, args, options)
    try:
        stdin = stdio[0] if options.stdin_open else -1
        with LocalTerminal((stdin, stdio[1], stdio[2]), running, tty=options.tty) as terminal:
            if on_start is not None:
                on_start(running)
            return running.serve(terminal)
    finally:
        running.close()


def detached(context: Context, row: Container, args: Sequence[str], options: ExecOptions | None) -> int:
    """See `Container.execute_detached`."""
    from cloche.engine.detached import execute

    options = (options or ExecOptions()).replace(tty=False)
    _, process = _prepared(context, row, args, options)
    return execute(context, row.id, process)


class Running:
    """A process that was started, with its streams."""

    def __init__(self, process: Process, streams: Streams) -> None:
        self.process = process
        self.streams = streams

    def kill(self, signal: int) -> None:
        """Send a signal; one that has ended does not mind."""
        self.process.kill(signal)

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of its console, where it has one."""
        if self.streams.console >= 0:
            from cloche.shim.clients import set_window_size

            set_window_size(self.streams.console, rows, columns)

    def serve(self, client: object) -> int:
        """Move its streams until it has ended; returns its exit code."""
        import time

        self.streams.clients.append(client)  # type: ignore[arg-type]  # a LocalTerminal is a Client
        self.streams.run({self.process.fileno(): _yes})
        code = self.process.wait()
        # Its children may keep the pipes: what they write later is not waited for long.
        self.streams.run({}, deadline=time.monotonic() + 1, until_silent=True)
        return code

    def close(self) -> None:
        """Close its streams; the process goes on if it still runs."""
        self.streams.close()
        self.process.close()


def _prepared(
    context: Context, row: Container, args: Sequence[str], options: ExecOptions
) -> tuple[RuntimeContainer, ProcessConfig]:
    if not args or not args[0]:
        raise InvalidArgument("no command specified: name the program to run in the container")
    container = lifecycle.runtime_of(context, row)
    return container, _process(Kept.of(row), row.id, container, args, options)


def _start(context: Context, row: Container, args: Sequence[str], options: ExecOptions) -> Running:
    container, process = _prepared(context, row, args, options)
    ends = Ends(pipes=not options.tty, stdin=options.stdin_open and not options.tty)
    try:
        started = container.execute(process, stdio=ends.theirs)
    except BaseException:
        ends.close_ours()
        raise
    finally:
        ends.close_theirs()
    return Running(started, Streams(ends.outputs, ends.stdin, console=started.take_console()))


def _process(
    kept: Kept, container_id: str, container: RuntimeContainer, args: Sequence[str], options: ExecOptions
) -> ProcessConfig:
    """The process object: the container's own with what was asked for in its place."""
    root = rootfs.inside(container)
    try:
        user = options.user or kept.options.user or kept.image_config.user
        who = passwd.lookup(root, user, () if options.user else kept.options.groups)
    finally:
        os.close(root)
    base = container.config["process"]
    settings = kept.options.replace(env=(*kept.options.env, *options.env), tty=options.tty)
    held = base.get("capabilities", {}).get("bounding", [])
    process: ProcessConfig = {
        **base,
        "terminal": options.tty,
        "args": list(args),
        "env": specification.environment(kept.image_config, settings, Facts(container_id, who)),
        "cwd": options.workdir or base["cwd"],
        "user": specification.process_user(who),
        "capabilities": specification.process_capabilities(
            capabilities.held_here() if options.privileged else tuple(held), who.uid
        ),
    }
    if not process["cwd"].startswith("/"):
        raise InvalidArgument(f"the working directory {options.workdir!r} is invalid: it must be absolute")
    process.pop("oomScoreAdj", None)
    process.pop("consoleSize", None)
    if options.console_size is not None:
        rows, columns = options.console_size
        process["consoleSize"] = {"height": rows, "width": columns}
    return process


def _yes() -> bool:
    return True
