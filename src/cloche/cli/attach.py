"""`attach` and `start`: this terminal, or these pipes, joined to a container."""

from __future__ import annotations

import os

from cloche.cli import detach, lifecycle
from cloche.cli.arguments import Command, WrongCountError
from cloche.cli.proxy import SignalProxy
from cloche.errors import FailedPrecondition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cli.arguments import Parsed
    from cloche.cli.session import Session
    from cloche.engine.container import Container

_KEYS = ("detach-keys", "", "string", 'Keys that leave it running (default "ctrl-p,ctrl-q")')
_PROXY = ("sig-proxy", "", "bool", "Pass signals on to it (default true)")


class NoTerminalError(FailedPrecondition):
    """A person at a keyboard is needed, and the standard input is something else."""

    exit_status = 1


def require_terminal() -> None:
    """Raise NoTerminalError unless the standard input is a terminal."""
    if not os.isatty(0):
        raise NoTerminalError("the input device is not a TTY: leave -t out, or use a terminal")


def join(container: Container, parsed: Parsed, *, stdin: bool = True) -> int:
    """Be attached to a running container until it ends; its exit code, 0 where it was left running."""
    keys = parsed.text("detach-keys")
    sequence = detach.parse(detach.DEFAULT if keys is None else keys)
    if not parsed.on("sig-proxy", default=True):
        code = container.attach(stdin=stdin, detach_keys=sequence)
    else:
        with SignalProxy() as proxy:
            code = container.attach(
                stdin=stdin,
                detach_keys=sequence,
                on_start=lambda process: proxy.connect(process.kill),
            )
    return 0 if code is None else code


def _attach(session: Session, parsed: Parsed) -> int:
    container = session.engine.containers.get(parsed.arguments[0])
    if not container.status().running:
        raise FailedPrecondition(
            f"cannot attach to container {container.name}: it is not running; start it first"
        )
    stdin = not parsed.on("no-stdin") and container.options.stdin_open
    if stdin and container.options.tty:
        require_terminal()
    return join(container, parsed, stdin=stdin)


def _start(session: Session, parsed: Parsed) -> int:
    if not parsed.on("attach") and not parsed.on("interactive"):
        return lifecycle.each(parsed.arguments, lambda name: _start_unless_running(session, name))
    if len(parsed.arguments) > 1:
        raise WrongCountError("you cannot start and attach multiple containers at once")
    container = session.engine.containers.get(parsed.arguments[0])
    stdin = parsed.on("interactive") and container.options.stdin_open
    if container.status().running:
        return join(container, parsed, stdin=stdin)
    if container.options.tty and stdin:
        require_terminal()
        from cloche.engine.terminal import size_of

        container.start(hold=True, console_size=size_of((0, 1, 2)))
        return join(container, parsed)
    with SignalProxy() as proxy:
        return container.run(
            stdio=(0 if stdin else -1, 1, 2), on_start=lambda process: proxy.connect(process.kill)
        )


def _start_unless_running(session: Session, name: str) -> None:
    container = session.engine.containers.get(name)
    if not container.status().running:
        container.start()


ATTACH = Command(
    "[OPTIONS] CONTAINER",
    _attach,
    groups=(("Options", (_KEYS, ("no-stdin", "", "bool", "Only watch, send no input"), _PROXY)),),
    minimum=1,
    maximum=1,
)
START = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    _start,
    groups=(
        (
            "Options",
            (
                ("attach", "a", "bool", "Show its output, pass signals on, and exit as it does"),
                _KEYS,
                ("interactive", "i", "bool", "Give it this standard input too"),
            ),
        ),
    ),
    minimum=1,
    maximum=None,
)
