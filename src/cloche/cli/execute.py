"""`exec`: another command in a running container."""

from __future__ import annotations

from cloche.cli import attach
from cloche.cli.arguments import Command
from cloche.cli.container_flags import environment_of
from cloche.cli.proxy import SignalProxy
from cloche.engine.execution import ExecOptions
from cloche.engine.terminal import size_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cli.arguments import Parsed
    from cloche.cli.session import Session


def _exec(session: Session, parsed: Parsed) -> int:
    name, *command = parsed.arguments
    options = ExecOptions(
        env=environment_of(parsed),
        user=parsed.text("user") or "",
        workdir=parsed.text("workdir") or "",
        tty=parsed.on("tty"),
        stdin_open=parsed.on("interactive"),
        privileged=parsed.on("privileged"),
        console_size=size_of((0, 1, 2)) if parsed.on("tty") else None,
    )
    if options.tty and options.stdin_open and not parsed.on("detach"):
        attach.require_terminal()
    container = session.engine.containers.get(name)
    if parsed.on("detach"):
        container.execute_detached(command, options)
        return 0
    with SignalProxy() as proxy:
        return container.execute(command, options, on_start=lambda process: proxy.connect(process.kill))


EXEC = Command(
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    _exec,
    groups=(
        (
            "Options",
            (
                ("detach", "d", "bool", "Leave it running in the background"),
                ("env", "e", "list", "Set a variable (NAME=VALUE), or pass this environment's on (NAME)"),
                ("env-file", "", "list", "Read variables from a file, one in each line"),
                ("interactive", "i", "bool", "Keep standard input open"),
                ("privileged", "", "bool", "Give it all capabilities"),
                ("tty", "t", "bool", "Give it a terminal"),
                ("user", "u", "string", "User, by name or number (USER[:GROUP])"),
                ("workdir", "w", "string", "Working directory inside"),
            ),
        ),
    ),
    minimum=2,
    maximum=None,
    passes_on=1,
    invokes=True,
)
