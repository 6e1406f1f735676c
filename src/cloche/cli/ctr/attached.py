"""Being with a process until it ends: its streams are ours, our signals are its own."""

from __future__ import annotations

import os

from cloche.cli.ctr.process import Steering
from cloche.cli.ctr.stdio import Streams
from cloche.cli.proxy import SignalProxy
from cloche.errors import ClocheError, FailedPrecondition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cli.ctr.command import Invocation
    from cloche.cli.ctr.process import Process


def streams(invocation: Invocation, name: str, *, terminal: bool) -> Streams:
    """The streams that the flags ask for. Raises FailedPrecondition, InvalidArgument."""
    from cloche.errors import InvalidArgument

    uri, null = invocation.text("log-uri"), invocation.on("null-io")
    if terminal and (uri or null):
        raise InvalidArgument("a terminal, --null-io and --log-uri do not go together")
    if terminal and not invocation.on("detach") and not os.isatty(0):
        raise FailedPrecondition("the input is not a terminal: leave --tty out, or use a terminal")
    if null:
        return Streams()
    if uri:
        return Streams("", uri, uri)
    folder = invocation.text("fifo-dir") or f"{invocation.session.state}/fifo"
    return Streams.make(folder, name, terminal=terminal)


def follow(process: Process, joined: Streams, *, terminal: bool, start: bool = True) -> int:
    """Start a process and be with it until it ends; its exit code.

    Signals, or the terminal's size, are passed on. start: not where it runs already.
    """
    steering = Steering(process)
    if terminal:
        from cloche.engine.terminal import LocalTerminal

        if start:
            process.start()
        with LocalTerminal((0, 1, 2), steering, tty=True):
            code = process.wait()
            joined.wait()
        return code
    # From before it starts: whoever sees its first output may send a signal at once.
    with SignalProxy() as proxy:
        if start:
            process.start()
        proxy.connect(steering.kill)
        code = process.wait()
    joined.wait()
    return code


def close_input(process: Process) -> None:
    """Let a process read the end of its input; from a thread. One that has ended does not mind."""
    try:
        process.another().close_input()
    except ClocheError:
        pass


def note_pid(path: str, pid: int) -> None:
    """Write a pid to a file, whole or not at all; nothing for an empty path."""
    if path:
        with open(f"{path}.new", "w", encoding="ascii") as file:
            file.write(str(pid))
        os.replace(f"{path}.new", path)
