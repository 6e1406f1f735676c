"""Commands that change what containers do: stop, kill, restart, rm, pause, unpause, rename, wait, prune."""

from __future__ import annotations

from cloche.cli.arguments import Command
from cloche.cli.output import line, one_line, warn, write
from cloche.errors import ClocheError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cloche.cli.arguments import Parsed
    from cloche.cli.session import Session

_CONTAINERS = "CONTAINER [CONTAINER...]"


def in_turn(names: Iterable[str], act: Callable[[str], Iterable[str]]) -> int:
    """Do the same to everything named, and print the lines it gives, each one once it is known.

    An error is told and the next one done; the exit code then is 1.
    """
    status = 0
    for name in names:
        try:
            for said in act(name):
                line(one_line(said))
        except ClocheError as error:
            warn(str(error))
            status = 1
    return status


def each(names: Iterable[str], act: Callable[[str], object]) -> int:
    """`in_turn`, printing each name that it went well with, as docker does."""

    def done(name: str) -> Iterable[str]:
        act(name)
        return (name,)

    return in_turn(names, done)


def confirmed(parsed: Parsed, what: str) -> bool:
    """Whether --force was given, or a person answers a warning about `what` with yes."""
    if parsed.on("force"):
        return True
    import sys

    write(f"WARNING! This will remove {what}.\nAre you sure you want to continue? [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _timeout(parsed: Parsed) -> int | None:
    timeout_s = parsed.number("timeout")
    return parsed.number("time") if timeout_s is None else timeout_s


def _stop(session: Session, parsed: Parsed) -> int:
    timeout_s, signal = _timeout(parsed), parsed.text("signal")
    containers = session.engine.containers
    return each(parsed.arguments, lambda name: containers.stop(name, timeout_s=timeout_s, signal=signal))


def _restart(session: Session, parsed: Parsed) -> int:
    timeout_s, signal = _timeout(parsed), parsed.text("signal")
    containers = session.engine.containers
    return each(parsed.arguments, lambda name: containers.restart(name, timeout_s=timeout_s, signal=signal))


def _kill(session: Session, parsed: Parsed) -> int:
    signal = parsed.text("signal") or "KILL"
    return each(parsed.arguments, lambda name: session.engine.containers.kill(name, signal))


def _remove(session: Session, parsed: Parsed) -> int:
    force, volumes = parsed.on("force"), parsed.on("volumes")
    containers = session.engine.containers
    return each(parsed.arguments, lambda name: containers.remove(name, force=force, volumes=volumes))


def _pause(session: Session, parsed: Parsed) -> int:
    return each(parsed.arguments, session.engine.containers.pause)


def _unpause(session: Session, parsed: Parsed) -> int:
    return each(parsed.arguments, session.engine.containers.resume)


def _rename(session: Session, parsed: Parsed) -> int:
    session.engine.containers.rename(*parsed.arguments)
    return 0


def _wait(session: Session, parsed: Parsed) -> int:
    return in_turn(parsed.arguments, lambda name: (str(session.engine.containers.wait(name)),))


def _prune(session: Session, parsed: Parsed) -> int:
    if not confirmed(parsed, "all stopped containers"):
        return 0
    from cloche.cli.reclaimed import Reclaimed

    with Reclaimed(session.engine):
        removed = session.engine.containers.prune()
        if removed:
            write("Deleted Containers:\n" + "".join(f"{identifier}\n" for identifier in removed) + "\n")
    return 0


_TIMEOUT = ("timeout", "t", "int", "Seconds to wait before it is killed (default 10); -1 waits for ever")
_TIME = ("time", "", "int", "")
_SIGNAL = ("signal", "s", "string", "Signal to send, by name or number")
_STOPPING = (("Options", (_SIGNAL, _TIMEOUT, _TIME)),)

STOP = Command(f"[OPTIONS] {_CONTAINERS}", _stop, groups=_STOPPING, minimum=1, maximum=None)
RESTART = Command(f"[OPTIONS] {_CONTAINERS}", _restart, groups=_STOPPING, minimum=1, maximum=None)
KILL = Command(
    f"[OPTIONS] {_CONTAINERS}",
    _kill,
    groups=(("Options", (("signal", "s", "string", "Signal to send, by name or number (default KILL)"),)),),
    minimum=1,
    maximum=None,
)
RM = Command(
    f"[OPTIONS] {_CONTAINERS}",
    _remove,
    groups=(
        (
            "Options",
            (
                ("force", "f", "bool", "Kill it first where it is running"),
                ("volumes", "v", "bool", "Remove its anonymous volumes too"),
            ),
        ),
    ),
    minimum=1,
    maximum=None,
)
PAUSE = Command(_CONTAINERS, _pause, minimum=1, maximum=None)
UNPAUSE = Command(_CONTAINERS, _unpause, minimum=1, maximum=None)
RENAME = Command("CONTAINER NEW_NAME", _rename, minimum=2, maximum=2)
WAIT = Command(_CONTAINERS, _wait, minimum=1, maximum=None)
PRUNE = Command(
    "[OPTIONS]", _prune, groups=(("Options", (("force", "f", "bool", "Do not ask whether it is meant"),)),)
)
