"""What a command of ctr is, and what it is given when it runs."""

from __future__ import annotations

import os

from cloche.cli.arguments import UsageError
from cloche.cli.ctr.tree import SNAPSHOTTER
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.cli.arguments import Group, Parsed
    from cloche.cli.ctr.daemon import Daemon
    from cloche.cli.session import Session


class Invocation:
    """One command line of ctr: its flags and arguments, and the daemon once it is needed."""

    def __init__(self, session: Session, flags: list[Parsed]) -> None:
        """flags: the command's own first, then those before it, the outermost last."""
        self.session = session
        self.arguments = flags[0].arguments
        self._flags = flags
        self._daemon: Daemon | None = None

    def text(self, name: str) -> str:
        """The value of a flag, wherever it stood; empty where it was not given."""
        return next((value for each in self._flags if (value := each.text(name)) is not None), "")

    def given(self, name: str) -> bool:
        """Whether a flag was given at all."""
        return any(name in each.given() for each in self._flags)

    def on(self, name: str) -> bool:
        """Whether a bool flag is set."""
        return self._flags[0].on(name)

    def number(self, name: str) -> int:
        """The value of an int flag; 0 where it was not given."""
        return self._flags[0].number(name) or 0

    def all(self, name: str) -> list[str]:
        """Every value of a repeated flag, in order."""
        return self._flags[0].all(name)

    def argument(self, number: int) -> str:
        """An argument; empty where there are fewer."""
        return self.arguments[number] if number < len(self.arguments) else ""

    @property
    def namespace(self) -> str:
        """The namespace to work in."""
        return self.text("namespace") or os.environ.get("CONTAINERD_NAMESPACE") or self.session.namespace

    @property
    def address(self) -> str:
        """The daemon's socket."""
        return self.text("address") or os.environ.get("CONTAINERD_ADDRESS") or self.session.address

    @property
    def snapshotter(self) -> str:
        """The snapshotter asked for; empty for the daemon's default."""
        return self.text(SNAPSHOTTER[0]) or os.environ.get("CONTAINERD_SNAPSHOTTER", "")

    @property
    def daemon(self) -> Daemon:
        """The daemon. Raises Unavailable."""
        if self._daemon is None:
            from cloche.cli.ctr.daemon import Daemon

            timeout_s, connect_s = self.seconds("timeout"), self.seconds("connect-timeout")
            self._daemon = Daemon(
                self.address, self.namespace, timeout_s=timeout_s or None, connect_timeout_s=connect_s
            )
        return self._daemon

    def seconds(self, name: str, default: float = 0.0) -> float:
        """The value of a flag that is a length of time. Raises UsageError."""
        from cloche.errors import InvalidArgument
        from cloche.spec import duration

        text = self.text(name)
        try:
            return duration.seconds(text) if text not in ("", "0") else 0.0 if text else default
        except InvalidArgument as error:
            raise UsageError(f"--{name}: {error}") from None


class CtrCommand(Record):
    """One command: how its line is read (see cli.arguments.Command), and the function that obeys it.

    obey: returns the exit code, None for success.
    """

    usage: str
    obey: Callable[[Invocation], int | None]
    groups: tuple[Group, ...] = ()
    minimum: int = 0
    maximum: int | None = 0
    passes_on: int = 0
    description: str = ""
